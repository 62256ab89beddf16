-- What the version of this schema writes beside the rows of the one before.
INSERT INTO users (id, email, password_hash, is_owner, created_at)
    VALUES ('user_{n}', '{n}@example.com', 'hash', true, :at);
INSERT INTO memberships (user_id, project_id, role, created_at) VALUES ('user_{n}', 'proj_{n}', 'viewer', :at);
INSERT INTO sessions (token_hash, user_id, created_at, last_used_at, expires_at)
    VALUES ('session {n}', 'user_{n}', :at, :at, :at);
INSERT INTO one_time_links (token_hash, purpose, user_id, created_at, expires_at)
    VALUES ('link {n}', 'password', 'user_{n}', :at, :at);
INSERT INTO sign_in_failures (counted, failures, since) VALUES ('address {n}', 1, :at);
INSERT INTO syncs (project_id, calendar_id, reason, outcome, listed, started_at, milliseconds, requests, created,
        updated, deleted, quiet_before)
    VALUES ('proj_{n}', 'cal_{n}', 'poll', 'changed', false, :at, 5, 1, 1, 0, 0, 7);
UPDATE calendars SET asked_for = 'asked', quiet_syncs = 3 WHERE id = 'cal_{n}';
UPDATE signing_secrets SET ends_at = :at WHERE project_id = 'proj_{n}';
