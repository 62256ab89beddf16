"""An installation that platforms can reach: its API answers on loopback, and its push channels are kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from attendee.model import CalendarId
from attendee.sandbox.world import Person
from attendee.store import claims, projects, tables
from attendee.store.calendars import Calendar
from attendee.store.channels import Channel
from attendee.sync.watch import ChannelKeeper
from tests.api.serving import Client, new_app, served_app
from tests.installation import Installation, installation


@dataclass(frozen=True)
class Pushing:
    """What a test acts on: `client` speaks with the API, `keeper` with the platforms about channels."""

    here: Installation
    keeper: ChannelKeeper
    client: Client

    async def connect(self, person: Person, **fields: Any) -> Calendar:
        """A calendar that has been synced for the first time, and once more with its push channel open."""
        calendar = await self.here.connect(person, **fields)
        await self.work()
        return await self.here.calendar(calendar.id)

    async def pass_poll(self, calendar_id: CalendarId) -> None:
        """Lets the calendar's next poll come and go: it is the whole interval until its own place comes again."""
        due_at = (await self.here.calendar(calendar_id)).due_at
        assert due_at is not None
        self.here.clock.advance(due_at - self.here.clock())
        await self.work()

    async def sync_due(self) -> list[CalendarId]:
        """Syncs every calendar that is due now, once; which ones."""
        async with self.here.database.transaction() as tx:
            rows = await claims.claim_due(tx, tables.calendars, now=self.here.clock(), limit=100)
        for row in rows:
            await self.here.pipeline.sync_calendar(Calendar.from_row(row))
        await self.here.quiet.settle()
        return [row.id for row in rows]

    async def keep_due(self) -> int:
        """Does what is due for channels, once for each; how many there were."""
        async with self.here.database.transaction() as tx:
            rows = await claims.claim_due(tx, tables.channels, now=self.here.clock(), limit=100)
        for row in rows:
            await self.keeper.keep(Channel.from_row(row))
        return len(rows)

    async def work(self) -> list[CalendarId]:
        """Does all that is due now, until nothing is; the calendars that were synced, in order."""
        synced: list[CalendarId] = []
        while True:
            batch = await self.sync_due()
            kept = await self.keep_due()
            # What a channel that opens or ends makes the platform say is heard before anything is looked at.
            await self.here.sandbox.pushed()
            if not batch and not kept:
                return synced
            synced += batch

    async def channels(self) -> list[Channel]:
        return [Channel.from_row(row) for row in await self.here.rows(tables.channels)]

    async def shown(self, calendar_id: CalendarId) -> dict[str, Any]:
        """`sync` of the calendar, as the API shows it."""
        sync: dict[str, Any] = (await self.client.get(f"/calendars/{calendar_id}")).json["sync"]
        return sync


@asynccontextmanager
async def pushing(database_url: str) -> AsyncIterator[Pushing]:
    """An installation with `PUBLIC_URL`."""
    async with installation(database_url, wants_push=True) as here:
        async with here.database.transaction() as tx:
            _, key = await projects.create_key(tx, here.project_id, name="tests", now=here.clock())
        app = new_app(here.database, key_ring=here.key_ring, clock=here.clock)
        async with served_app(app) as address:
            keeper = ChannelKeeper(here.database, here.pipeline.providers, here.key_ring, here.clock, address)
            yield Pushing(here, keeper, Client(here.http, address, key))
