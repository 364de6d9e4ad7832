-- +goose Up

-- changes_who and changes_subject: whose changes, and changes of what, within an
-- account. They have all that a list can be filtered by, so that a row is read only
-- where it is shown.
-- Words are compared by octets, as SQLite does.
ALTER TABLE changes ALTER COLUMN who TYPE TEXT COLLATE "C", ALTER COLUMN subject TYPE TEXT COLLATE "C";
CREATE INDEX changes_who ON changes (account_id, who, subject, action, at, id);
CREATE INDEX changes_subject ON changes (account_id, subject, who, action, at, id);
