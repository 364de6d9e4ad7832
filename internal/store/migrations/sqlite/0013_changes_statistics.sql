-- +goose Up

-- In PostgreSQL the statistics of changes are gathered here, which 0011 has thrown away.
SELECT 1;
