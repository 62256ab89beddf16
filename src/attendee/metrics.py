"""What this process has done, counted for Prometheus. No label has more than a few values, and none is a tenant's.

With several processes each counts its own; sums are made where they are scraped together. What is read from the
database at the time of a scrape (most gauges) is the same wherever it is asked for.
"""

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from attendee import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

build = Info("attendee_build", "Which version runs.", registry=registry)
build.info({"version": __version__, "python": platform.python_version()})

syncs = Counter("attendee_syncs", "Syncs that ended.", ["platform", "outcome"], registry=registry)
sync_failures = Counter(
    "attendee_sync_failures", "Syncs that failed, by what the platform said.", ["platform", "code"], registry=registry
)
sync_seconds = Histogram(
    "attendee_sync_seconds", "How long syncs took.", ["platform"], buckets=_SECONDS, registry=registry
)
pushes = Counter(
    "attendee_pushes", "Messages of the platforms that made a calendar due.", ["platform"], registry=registry
)
push_to_webhook_seconds = Histogram(
    "attendee_push_to_webhook_seconds",
    "From when a push made its calendar due to when the webhook of it was taken, at the first try.",
    buckets=_SECONDS,
    registry=registry,
)
deliveries = Counter("attendee_deliveries", "Tries to deliver a webhook.", ["outcome"], registry=registry)
delivery_seconds = Histogram(
    "attendee_delivery_seconds",
    "How long receivers took to answer, or we to give up.",
    buckets=_SECONDS,
    registry=registry,
)
bot_states = Counter("attendee_bot_states", "Bots that came into a state.", ["state"], registry=registry)
requests = Counter("attendee_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
work_failed = Counter(
    "attendee_work_failed",
    "Pieces of work that ended in a fault of ours; the log has more.",
    ["kind"],
    registry=registry,
)
purged = Counter("attendee_purged_rows", "Rows that upkeep has removed.", ["kind"], registry=registry)

database_up = Gauge("attendee_database_up", "Whether the database answered this scrape.", registry=registry)
database_connections = Gauge(
    "attendee_database_connections", "Connections of this process.", ["pool", "state"], registry=registry
)
due_work = Gauge(
    "attendee_due_work",
    "Rows that are due and that nobody works on, counted up to 10,000.",
    ["kind"],
    registry=registry,
)
due_age_seconds = Gauge(
    "attendee_due_age_seconds", "How long the oldest of them has been due.", ["kind"], registry=registry
)
bots = Gauge("attendee_bots", "Bots that have not finished.", ["state"], registry=registry)
calendars_in_trouble = Gauge(
    "attendee_calendars_in_trouble", "Calendars whose last sync failed, counted up to 10,000.", registry=registry
)


def written() -> bytes:
    """Everything, as Prometheus reads it."""
    return generate_latest(registry)
