-- What the version of this schema writes beside the rows of the one before.
INSERT INTO post_counts (project_id, minute, taken) VALUES ('proj_{n}', :at, 7);
