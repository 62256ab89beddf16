"""What the routes work with, handed in by the composition root, and who is calling."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.api.problems import Unauthenticated
from attendee.bots.schedule import LaunchTimes
from attendee.clock import Clock
from attendee.meetings import MeetingLinks
from attendee.model import KeyId, ProjectId
from attendee.store import projects
from attendee.store.columns import KeyRing
from attendee.store.database import TROUBLE, Database
from attendee.store.limits import Limits, Posts
from attendee.store.projects import ApiKey
from attendee.sync.schedule import Intervals

log = structlog.get_logger(__name__)

_SCHEMES = {"token", "bearer"}


@dataclass(frozen=True, slots=True)
class Service:
    database: Database
    key_ring: KeyRing
    clock: Clock
    meeting_links: MeetingLinks
    allow_insecure_webhooks: bool
    intervals: Intervals
    launch_times: LaunchTimes
    heartbeat: timedelta
    limits: Limits
    posts: Posts

    @property
    def debounce(self) -> timedelta:
        return self.intervals.debounce


@dataclass(frozen=True, slots=True)
class Caller:
    """A request with a good key: everything it may see belongs to `project_id`."""

    project_id: ProjectId
    key_id: KeyId
    service: Service


@dataclass(frozen=True, slots=True)
class Reader:
    """A request with a good key that only reads, and the transaction that it reads in."""

    project_id: ProjectId
    tx: AsyncConnection
    service: Service


async def authenticated(request: Request) -> Caller:
    """Who is calling. Raises Unauthenticated, and TooManyPosts for a project that asks for more than it may."""
    service: Service = request.app.state.service
    secret = bearer(request.headers.get("authorization"))
    async with service.database.reading() as tx:
        key = await _opened(tx, secret)
    if request.method == "POST":
        await service.posts.count(key.project_id, now=service.clock())
    await _record_use(service, key)
    return Caller(key.project_id, key.id, service)


async def reading(request: Request) -> AsyncIterator[Reader]:
    """Who is reading: the key is looked up in the transaction of the reading, since another would double its cost.

    Raises Unauthenticated.
    """
    service: Service = request.app.state.service
    secret = bearer(request.headers.get("authorization"))
    async with service.database.reading() as tx:
        key = await _opened(tx, secret)
        yield Reader(key.project_id, tx, service)
    # Not before: who holds one connection while waiting for another may wait for ever.
    await _record_use(service, key)


async def _opened(tx: AsyncConnection, secret: str) -> ApiKey:
    key = await projects.authenticate(tx, secret)
    if key is None:
        raise Unauthenticated("Invalid API key: it is unknown or disabled.")
    return key


async def _record_use(service: Service, key: ApiKey) -> None:
    now = service.clock()
    if key.is_use_recorded(now=now):
        return
    try:
        async with service.database.transaction() as tx:
            await projects.record_use(tx, key.id, now=now)
    except TROUBLE as trouble:
        # What a database that can't be written to still tells is worth having.
        log.warning("key_use_not_recorded", key_id=key.id, error=str(trouble))


def bearer(header: str | None) -> str:
    """The secret in an Authorization header. Raises Unauthenticated."""
    if header is None:
        raise Unauthenticated("No API key was given. Send the header 'Authorization: Token <api key>'.")
    scheme, _, secret = header.strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() not in _SCHEMES or not secret or " " in secret:
        raise Unauthenticated("Malformed Authorization header. It must be 'Authorization: Token <api key>'.")
    return secret


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


# First among the parameters of a route, so that nothing else is looked at before the key.
Authenticated = Annotated[Caller, Depends(authenticated)]
# The transaction ends with the route, before its answer is sent to a client that may be slow.
Reading = Annotated[Reader, Depends(reading, scope="function")]
ServiceOf = Annotated[Service, Depends(service_of)]
