-- +goose Up

-- A column whose type is altered (0011) loses its statistics. Until somebody gathers them
-- anew, a filter over all accounts would be looked for in all records, the last ones first.
ANALYZE changes;
