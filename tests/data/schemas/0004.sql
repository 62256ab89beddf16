-- What the version of this schema writes beside the rows of the one before.
UPDATE calendars SET is_operators_fault = true WHERE id = 'cal_{n}';
UPDATE webhook_subscriptions SET is_active = false, failing_since = :at, pause_reason = 'failing', paused_at = :at
    WHERE id = 'webhook_{n}';
UPDATE deliveries SET host = 'product.example' WHERE id = 'whd_{n}';
