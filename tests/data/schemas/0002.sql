-- What the version of this schema writes beside the rows of the one before.
INSERT INTO launches (id, project_id, bot_id, state, body, report_token, is_leave_wanted, created_at, due_at)
    VALUES ('launch_{n}', 'proj_{n}', 'bot_{n}', 'wanted', '{}', :sealed, false, :at, :at);
INSERT INTO bot_reports (bot_id, report_id) VALUES ('bot_{n}', 'report');
UPDATE bots SET launch_id = 'launch_{n}', report_token_hash = 'hash', reported_at = :at WHERE id = 'bot_{n}';
