"""What we know: the tables, and the queries on them, one file a subject. No HTTP here, and no commit of its own."""
