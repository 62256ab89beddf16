"""A platform's push to the webhook that tells of it, with nothing else running."""

import asyncio
import time
from contextlib import ExitStack

import orjson

from attendee import clock
from attendee.model import Trigger
from attendee.store import subscriptions
from attendee.store.subscriptions import NewSubscription
from bench.filling import add_calendars, add_project, make_all_due
from bench.loopback import Request, listen
from bench.results import AtMost, Figure, Result, percentile
from bench.surroundings import BOTH, Platform, Process, Surroundings, until

# Enough that each calendar has its next push later than a second after the last: they would be gathered otherwise.
_CALENDARS = 40
_PUSHES = 160
_RUNS = 4
_PLATFORM_SECONDS = 0.05
_LONGEST = 10


class _Receiver:
    """Takes webhooks, and notes when each arrived."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[float] = asyncio.Queue()

    def answer(self, request: Request) -> bytes:
        at = time.perf_counter()
        assert orjson.loads(request.body)["trigger"] == Trigger.CALENDAR_EVENTS_UPDATE.value
        self.arrived.put_nowait(at)
        return b"{}"

    def forget(self) -> None:
        while not self.arrived.empty():
            self.arrived.get_nowait()


async def measure(surroundings: Surroundings) -> list[Result]:
    """Median and 99th percentile on each database; the floor is one request to the platform and one to the receiver."""
    results: list[Result] = []
    for kind in BOTH:
        receiver = _Receiver()
        server, receiver_url = await listen(receiver.answer)
        async with surroundings.database(kind) as at_hand:
            project_id = await add_project(at_hand.database, surroundings.key_ring)
            await add_calendars(
                at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS, are_synced=False
            )
            await make_all_due(at_hand.database)
            async with at_hand.database.transaction() as tx:
                wanted = NewSubscription(receiver_url, [Trigger.CALENDAR_EVENTS_UPDATE])
                await subscriptions.create(tx, wanted, project_id=project_id, now=clock.now())
            with ExitStack() as running:
                platform = running.enter_context(
                    surroundings.platform("--changes", "--events=20", f"--seconds={_PLATFORM_SECONDS}")
                )
                process = running.enter_context(
                    # Nobody calls this address: the pushes are made here, with what the channels were opened with.
                    surroundings.attendee("serve", at_hand, platform.address, public_url="http://localhost:9")
                )
                surroundings.tell(f"pushes on {kind}: waiting for {_CALENDARS} channels")
                await _wait_for_channels(platform)
                floor = await _floor(surroundings, platform, receiver, receiver_url)
                cpu_began, began = process.cpu_seconds(), time.perf_counter()
                runs = []
                for number in range(_RUNS):
                    surroundings.tell(f"pushes on {kind}: run {number + 1} of {_RUNS}")
                    runs.append(await _push(surroundings, platform, process, receiver))
                cpu, wall = process.cpu_seconds() - cpu_began, time.perf_counter() - began
        server.close()
        for share, limit in ((0.5, 150), (0.99, 500)):
            # The 99th percentile is that of all pushes together: a run has too few for one of its own.
            each = [percentile(run, share) for run in runs]
            together = percentile([one for run in runs for one in run], share)
            results.append(
                Result(
                    what=f"push received → webhook sent, p{share * 100:.0f}",
                    database=kind,
                    unit="ms",
                    ours=Figure(together, min(each), max(each)),
                    floor=percentile(floor, share),
                    target=AtMost(limit),
                    wall_seconds=wall,
                    cpu_seconds=cpu,
                )
            )
    return results


async def _wait_for_channels(platform: Platform) -> None:
    async def are_open() -> bool:
        return len(await platform.channels()) >= _CALENDARS

    await until(are_open, seconds=60, what="opening all channels")
    # The first syncs and their webhooks are over, and long enough ago that no push is gathered with them.
    await asyncio.sleep(2)


async def _push(surroundings: Surroundings, platform: Platform, process: Process, receiver: _Receiver) -> list[float]:
    """Milliseconds from each push's first byte to its webhook's last, one push after the other."""
    channels = await platform.channels()
    receiver.forget()
    passed = []
    for number in range(_PUSHES // _RUNS):
        channel = channels[number % len(channels)]
        headers = {
            "X-Goog-Channel-ID": channel["id"],
            "X-Goog-Channel-Token": channel["token"],
            "X-Goog-Resource-State": "exists",
        }
        began = time.perf_counter()
        address = f"{process.told}/external_webhooks/google_calendar"
        async with surroundings.http.post(address, headers=headers) as response:
            response.raise_for_status()
        async with asyncio.timeout(_LONGEST):
            passed.append((await receiver.arrived.get() - began) * 1000)
    return passed


async def _floor(surroundings: Surroundings, platform: Platform, receiver: _Receiver, receiver_url: str) -> list[float]:
    body = orjson.dumps({"trigger": Trigger.CALENDAR_EVENTS_UPDATE.value})
    receiver.forget()
    passed = []
    for _ in range(_PUSHES // _RUNS):
        began = time.perf_counter()
        async with surroundings.http.get(f"{platform.address}/calendars/primary/floor") as response:
            await response.read()
        async with surroundings.http.post(receiver_url, data=body) as response:
            await response.read()
        passed.append((receiver.arrived.get_nowait() - began) * 1000)
    return passed
