-- Times are the service's own strings (UTC, microseconds, Z): as text they sort as they do in time.

CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    account TEXT NOT NULL,           -- the platform's own id of the account, which never goes to somebody else
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    calendar_id TEXT UNIQUE,
    calendar_state TEXT NOT NULL DEFAULT 'connecting'
        CHECK (calendar_state IN ('connecting', 'connected', 'disconnected')),
    failure_code TEXT,               -- why it is disconnected, in the service's word for it
    synced_until TEXT,               -- the largest updated_at that this application has seen of the calendar
    takes_all INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, account)
) STRICT;

CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL,
    start_time TEXT NOT NULL,
    end_time TEXT NOT NULL,
    all_day INTEGER NOT NULL,
    meeting_url TEXT,
    guests TEXT NOT NULL,
    is_deleted INTEGER NOT NULL,
    wanted INTEGER,                  -- what the user said of this meeting; NULL: nothing, so takes_all decides
    bot_id TEXT,
    bot_state TEXT,
    problem TEXT                     -- why the service gave this event no bot
) STRICT;
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, start_time);
CREATE INDEX IF NOT EXISTS events_of_bot ON events (bot_id);

CREATE TABLE IF NOT EXISTS deliveries (
    idempotency_key TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at TEXT,                     -- NULL: done
    arrived_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS due_deliveries ON deliveries (due_at);

CREATE TABLE IF NOT EXISTS logins (
    state TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    verifier TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS sessions (
    digest TEXT PRIMARY KEY,         -- of the id in the cookie: who reads this table can't use it
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    csrf_token TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
