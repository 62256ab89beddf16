-- A row in every table, as the version of this schema writes them. {n} tells one set of rows from another.
INSERT INTO projects (id, name, created_at) VALUES ('proj_{n}', 'Project {n}', :at);
INSERT INTO api_keys (id, project_id, name, key_hash, created_at)
    VALUES ('key_{n}', 'proj_{n}', 'default', 'hash {n}', :at);
INSERT INTO signing_secrets (id, project_id, secret, created_at) VALUES ('secret_{n}', 'proj_{n}', :sealed, :at);
INSERT INTO calendars (id, project_id, platform, deduplication_key, metadata, client_id, client_secret, refresh_token,
        access_token, access_token_expires_at, state, cursor, listed_from, listed_until, created_at, updated_at, due_at)
    VALUES ('cal_{n}', 'proj_{n}', 'google', 'user-{n}', '{"tenant": "{n}"}', 'client', :sealed, :sealed,
        :sealed, :at, 'connected', 'cursor', :at, :at, :at, :at, :at);
INSERT INTO calendars (id, project_id, platform, client_id, client_secret, refresh_token, state,
        connection_failure_data, created_at, updated_at)
    VALUES ('cal_gone_{n}', 'proj_{n}', 'microsoft', 'client', :sealed, :sealed, 'disconnected',
        '{"code": "consent_revoked"}', :at, :at);
INSERT INTO channels (id, project_id, platform, client_id, calendar_id, state, created_at, due_at)
    VALUES ('channel_{n}', 'proj_{n}', 'google', 'client', 'cal_{n}', 'wanted', :at, :at);
INSERT INTO events (id, project_id, calendar_id, platform_uuid, fingerprint, name, meeting_url, start_time, end_time,
        is_deleted, attendees, raw, created_at, updated_at)
    VALUES ('evt_{n}', 'proj_{n}', 'cal_{n}', 'theirs', 'digest', 'Weekly', 'https://meet.google.com/abc-defg-hij',
        :at, :at, false, '[]', '{}', :at, :at);
INSERT INTO platform_calendars (calendar_id, position, platform_uuid, name, is_primary)
    VALUES ('cal_{n}', 0, 'primary', 'Work', true);
INSERT INTO set_aside_events (calendar_id, platform_uuid, reason, created_at)
    VALUES ('cal_{n}', 'odd', 'It has no start.', :at);
INSERT INTO bots (id, project_id, event_id, calendar_id, name, meeting_url, join_at, state, deduplication_key, settings,
        recording_state, transcription_state, created_at, updated_at, due_at)
    VALUES ('bot_{n}', 'proj_{n}', 'evt_{n}', 'cal_{n}', 'Notes', 'https://meet.google.com/abc-defg-hij', :at,
        'scheduled', 'evt_{n}', '{}', 'not_started', 'not_started', :at, :at, :at);
INSERT INTO bot_events (bot_id, type, created_at) VALUES ('bot_{n}', 'staged', :at);
INSERT INTO webhook_subscriptions (id, project_id, url, triggers, is_active, created_at, updated_at)
    VALUES ('webhook_{n}', 'proj_{n}', 'https://product.example/hook', '["bot.state_change"]', true, :at, :at);
INSERT INTO deliveries (id, project_id, subscription_id, url, trigger, calendar_id, idempotency_key, body, state,
        created_at, due_at)
    VALUES ('whd_{n}', 'proj_{n}', 'webhook_{n}', 'https://product.example/hook', 'calendar.events_update', 'cal_{n}',
        'key {n}', '{}', 'pending', :at, :at);
INSERT INTO delivery_attempts (delivery_id, started_at, milliseconds, status) VALUES ('whd_{n}', :at, 5, 500);
INSERT INTO activity (project_id, calendar_id, event_id, kind, detail, created_at)
    VALUES ('proj_{n}', 'cal_{n}', 'evt_{n}', 'event_created', '{}', :at);
