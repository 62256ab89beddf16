-- What the version of this schema writes beside the rows of the one before.
INSERT INTO upkeep (id, position, due_at) VALUES ('kind {n}', 'evt_{n}', :at);
INSERT INTO projects (id, name, created_at, deleted_at) VALUES ('proj_gone_{n}', 'Project {n} that was', :at, :at);
UPDATE deliveries SET heard_at = :at WHERE id = 'whd_{n}';
