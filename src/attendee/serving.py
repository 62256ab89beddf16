"""The service put together: everything built once, and run until it is told to stop."""

import asyncio
import errno
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Any

import aiohttp
import uvicorn
from sqlalchemy import Row

from attendee import clock
from attendee.api.app import create_app
from attendee.api.middleware import EveryRequest
from attendee.api.operations import create_operations
from attendee.bots.launch import Launcher, Orders
from attendee.bots.runners.http import HttpRunner
from attendee.bots.runners.port import Runner
from attendee.bots.runners.process import ProcessRunner
from attendee.bots.runners.remote import RemoteRunner
from attendee.bots.schedule import LaunchTimes
from attendee.bots.staging import Stager
from attendee.connections import Connections, connected
from attendee.dashboard.app import beside, create_dashboard
from attendee.front import BehindProxies, BoundedHttp
from attendee.meetings import MeetingLinks
from attendee.model import LaunchId, Platform, ProjectId
from attendee.pipeline import Pipeline, SyncSettings
from attendee.providers.google import GoogleCalendar
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.providers.port import CalendarProvider
from attendee.retention import Keeper, Kept
from attendee.settings import Settings
from attendee.startup import CannotStart, Opened, opened_to_serve, uses_sqlite
from attendee.store import channels, claims, launches, links, projects, tables, upkeep
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar
from attendee.store.channels import Channel
from attendee.store.database import TROUBLE, Database
from attendee.store.deliveries import Delivery
from attendee.store.launches import Launch
from attendee.store.limits import Limits
from attendee.store.upkeep import Upkeep
from attendee.sync.schedule import Intervals
from attendee.sync.watch import ChannelKeeper
from attendee.webhooks.send import RECEIVERS, Sender
from attendee.worker import Cap, Job, QuietSyncs, Worker

# Requests under way get so long to end: the whole process is to be gone 10 seconds after it was told to stop.
_FINISH_SECONDS = 8
_OBJECTS_BETWEEN_COLLECTIONS = 10_000
_BACKLOG = 2048
_RECEIVERS_AT_ONCE = 8

Told = Callable[[str], None]


async def serve(settings: Settings, *, with_worker: bool, tell: Told) -> None:
    """The API, and the worker with it, until a signal stops them. Raises WrongSetting and CannotStart.

    `tell` gets the lines that greet the person who started it.
    """
    with stop_signals() as stop, listening(settings.host, settings.port) as listener:
        async with opened_to_serve(settings) as at_hand, asyncio.TaskGroup() as tasks:
            meeting_links = _meeting_links(settings)
            application = _application(at_hand, meeting_links, settings=settings, stop=stop)
            server = _Server(application, trusted_proxies=settings.trusted_proxies)
            tasks.create_task(server.serve([listener]))
            tasks.create_task(server.end_after(stop))
            if with_worker:
                here = _address(listener)
                tasks.create_task(_work(at_hand, meeting_links, settings=settings, address=here, stop=stop))
            await server.up.wait()
            _collect_less()
            tell(f"attendee is up at {_address(listener)} (its API: {_address(listener)}/docs). Ctrl-C stops it.")
            link = await _link_for_first_owner(at_hand.database)
            if link is not None:
                tell("The dashboard has no owner yet. This link makes whoever opens it the owner; it works once:")
                tell(f"  {settings.public_url or _address(listener)}/links/{link}")
            if not await _has_project(at_hand.database):
                tell("There is no project yet. In another terminal: attendee projects create NAME")
                tell("then, for its API key:                        attendee keys create --project NAME")


async def work(settings: Settings, *, tell: Told) -> None:
    """A worker alone, beside others, until a signal stops it. Raises WrongSetting and CannotStart."""
    if uses_sqlite(settings):
        raise CannotStart(
            "SQLite allows one process, and with it `attendee serve` works too: "
            "set ATTENDEE_DATABASE_URL to a PostgreSQL database to run workers of their own."
        )
    with stop_signals() as stop:
        async with opened_to_serve(settings) as at_hand:
            tell("The worker is up. Ctrl-C stops it.")
            _collect_less()
            meeting_links = _meeting_links(settings)
            address = f"http://{settings.host}:{settings.port}"
            async with _telling_metrics(at_hand, settings=settings, stop=stop):
                await _work(at_hand, meeting_links, settings=settings, address=address, stop=stop)


def _collect_less() -> None:
    """Lets the garbage collector leave alone what was built at the start, which is most of what there is.

    It would look through all of that again and again for the few cycles that requests and syncs leave behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 20)


@asynccontextmanager
async def _telling_metrics(at_hand: Opened, *, settings: Settings, stop: asyncio.Event) -> AsyncGenerator[None]:
    """A process that has no API tells its metrics on a port of their own, if it has one. Raises CannotStart."""
    if settings.metrics_port is None:
        yield
        return
    with listening(settings.host, settings.metrics_port) as listener:
        async with asyncio.TaskGroup() as tasks:
            operations = create_operations(database=at_hand.database, clock=clock.now)
            server = _Server(operations, trusted_proxies=settings.trusted_proxies)
            tasks.create_task(server.serve([listener]))
            tasks.create_task(server.end_after(stop))
            yield


def _application(
    at_hand: Opened, meeting_links: MeetingLinks, *, settings: Settings, stop: asyncio.Event
) -> Callable[..., Any]:
    """API and dashboard."""
    api = create_app(
        database=at_hand.database,
        key_ring=at_hand.key_ring,
        clock=clock.now,
        meeting_links=meeting_links,
        allow_insecure_webhooks=settings.allow_insecure_webhooks,
        intervals=_intervals(settings),
        launch_times=_launch_times(settings),
        heartbeat=timedelta(seconds=settings.bot_heartbeat_seconds),
        limits=Limits(
            settings.project_posts_per_minute,
            settings.calendars_per_project,
            settings.webhooks_per_project,
            settings.bots_per_project,
        ),
    )
    dashboard = create_dashboard(
        database=at_hand.database,
        key_ring=at_hand.key_ring,
        clock=clock.now,
        allow_insecure_webhooks=settings.allow_insecure_webhooks,
        public_url=settings.public_url,
        most_webhooks=settings.webhooks_per_project,
        keep_syncs_days=settings.keep_syncs_days,
        stop=stop,
    )
    return beside(api, EveryRequest(dashboard, name="dashboard"))


class _Server(uvicorn.Server):
    """An application over HTTP, inside our own event loop. `up` is set once it answers."""

    def __init__(self, application: Callable[..., Any], *, trusted_proxies: Sequence[str]) -> None:
        super().__init__(
            uvicorn.Config(
                BehindProxies(application, trusted_proxies),
                # Ours knows which proxies are trusted; uvicorn's would ask the environment.
                proxy_headers=False,
                http=BoundedHttp,
                ws="none",
                log_config=None,
                log_level=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_FINISH_SECONDS,
            )
        )
        self.up = asyncio.Event()
        self._ends = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Captures none: they stop more than this server."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """Keeps the date that answers carry. uvicorn's own looks ten times a second whether it is to end."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ends.wait()

    async def end_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.should_exit = True
        self._ends.set()


async def _work(
    at_hand: Opened, meeting_links: MeetingLinks, *, settings: Settings, address: str, stop: asyncio.Event
) -> None:
    """Works until told to stop. `address` is where this machine's API listens, for bots that are to report to it."""
    if settings.public_url is None:
        async with at_hand.database.transaction() as tx:
            await channels.stop_listening(tx, now=clock.now())
    async with at_hand.database.transaction() as tx:
        await upkeep.begin(tx, now=clock.now())
    async with connected(settings) as ways:
        worker = _build_worker(
            at_hand,
            settings=settings,
            ways=ways,
            meeting_links=meeting_links,
            report_url=settings.runner_report_url or settings.public_url or address,
        )
        await worker.run(stop)


def _build_worker(
    at_hand: Opened,
    *,
    settings: Settings,
    ways: Connections,
    meeting_links: MeetingLinks,
    report_url: str,
) -> Worker:
    """The worker with its kinds of work."""
    database, key_ring = at_hand.database, at_hand.key_ring
    providers: dict[Platform, CalendarProvider] = {
        Platform.GOOGLE: GoogleCalendar(
            http=ways.platforms,
            api_url=settings.google_api_url,
            token_url=settings.google_token_url,
            find_meeting_url=meeting_links.find_meeting_url,
        ),
        Platform.MICROSOFT: MicrosoftCalendar(
            http=ways.platforms,
            graph_url=settings.microsoft_graph_url,
            token_url=settings.microsoft_token_url,
            find_meeting_url=meeting_links.find_meeting_url,
        ),
    }
    intervals, times = _intervals(settings), _launch_times(settings)
    quiet = QuietSyncs(database, intervals)
    pipeline = Pipeline(
        database=database,
        providers=providers,
        key_ring=key_ring,
        clock=clock.now,
        settings=SyncSettings(
            past=timedelta(days=settings.sync_window_past_days),
            future=timedelta(days=settings.sync_window_future_days),
            intervals=intervals,
            launch_times=times,
            wants_push=settings.public_url is not None,
        ),
        settle_quiet=quiet.add,
    )
    sender = Sender(database, ways.receivers, key_ring, clock.now)
    runner = _runner(at_hand, settings=settings, http=ways.runner, report_url=report_url)
    orders = None if runner is None else Orders(report_url, meeting_links.service_of)
    launcher = Launcher(database, key_ring, clock.now, times, orders, timedelta(seconds=settings.bot_heartbeat_seconds))
    retention = Keeper(database, key_ring, clock.now, _kept(settings))
    keeper = ChannelKeeper(database, providers, key_ring, clock.now, settings.public_url)

    async def sync(row: Row[Any]) -> None:
        await pipeline.sync_calendar(Calendar.from_row(row))

    async def send(row: Row[Any]) -> None:
        await sender.send(Delivery.from_row(row))

    async def launch(row: Row[Any]) -> None:
        await launcher.launch(Bot.from_row(row))

    async def keep(row: Row[Any]) -> None:
        await keeper.keep(Channel.from_row(row))

    async def tidy(row: Row[Any]) -> None:
        await retention.keep(Upkeep.from_row(row))

    at_once = settings.worker_concurrency
    jobs = [
        Job(tables.calendars, (("project_id", "client_id"), ("project_id",)), sync, at_once),
        Job(
            tables.deliveries,
            RECEIVERS,
            send,
            # They wait more than they work: many receivers may hang at once, and there is still a place.
            at_once=_RECEIVERS_AT_ONCE * at_once,
            most_of_one=at_once,
        ),
        Job(tables.bots, (("project_id",),), launch, at_once),
        Job(tables.channels, (("project_id", "client_id"), ("project_id",)), keep, at_once),
        Job(tables.upkeep, (), tidy, at_once=1),
    ]
    if runner is not None:
        jobs.append(_launches_job(at_hand, runner, times, settings=settings))
    return Worker(database=database, clock=clock.now, jobs=jobs, quiet=quiet)


def _launches_job(at_hand: Opened, runner: Runner, times: LaunchTimes, *, settings: Settings) -> Job:
    heartbeat = timedelta(seconds=settings.bot_heartbeat_seconds)
    stager = Stager(at_hand.database, at_hand.key_ring, clock.now, runner, times, heartbeat)

    async def carry_out(row: Row[Any]) -> None:
        await stager.carry_out(Launch.from_row(row))

    most = settings.bots_at_once_per_project
    return Job(
        tables.launches,
        (("project_id",),),
        carry_out,
        # Calls to a runner wait more than they work, and all bots of a full hour want to be told of.
        at_once=max(settings.worker_concurrency, most),
        among=None if runner.host is None else launches.reachable_from(runner.host),
        cap=Cap(("project_id",), most, launches.projects_in_flight),
    )


def _runner(at_hand: Opened, *, settings: Settings, http: aiohttp.ClientSession, report_url: str) -> Runner | None:
    """What runs bots, as it was chosen."""
    key = None if settings.bot_runner_key is None else settings.bot_runner_key.get_secret_value()
    match settings.bot_runner:
        case "process":

            async def wake(launch_id: LaunchId) -> None:
                # Without it the end of a process is seen seconds later.
                with suppress(*TROUBLE):
                    async with at_hand.database.transaction() as tx:
                        await claims.wake(tx, tables.launches, launch_id, now=clock.now())

            return ProcessRunner(
                settings.bot_runner_command or (),
                directory=settings.data_dir / "bots",
                host=socket.gethostname(),
                environment=os.environ,
                wake=wake,
                clock=clock.now,
            )
        case "http":

            async def secrets_of(project_id: ProjectId) -> Sequence[str]:
                async with at_hand.database.reading() as tx:
                    return await projects.live_secrets(tx, project_id, key_ring=at_hand.key_ring, now=clock.now())

            return HttpRunner(http, settings.bot_runner_url or "", key, secrets_of, clock.now)
        case "remote":
            heartbeat = timedelta(seconds=settings.bot_heartbeat_seconds)
            return RemoteRunner(http, settings.bot_runner_url or "", key or "", report_url, heartbeat, clock.now)
        case _:
            return None


def _launch_times(settings: Settings) -> LaunchTimes:
    has_runner = settings.bot_runner != "none"
    return LaunchTimes(timedelta(seconds=settings.bot_launch_lead_seconds) if has_runner else None)


def _meeting_links(settings: Settings) -> MeetingLinks:
    return MeetingLinks(extra_hosts=settings.meeting_hosts, joinable=settings.bot_runner_services)


def _intervals(settings: Settings) -> Intervals:
    return Intervals(
        polled=timedelta(seconds=settings.sync_interval_seconds),
        pushed=timedelta(seconds=settings.push_sync_interval_seconds),
        near=timedelta(seconds=settings.sync_interval_near_seconds),
        soon=timedelta(seconds=settings.sync_interval_soon_seconds),
        debounce=timedelta(seconds=settings.sync_debounce_seconds),
    )


def _kept(settings: Settings) -> Kept:
    return Kept(
        events=timedelta(days=settings.keep_events_days),
        bots=timedelta(days=settings.keep_bots_days),
        deliveries=timedelta(days=settings.keep_deliveries_days),
        activity=timedelta(days=settings.keep_activity_days),
        syncs=timedelta(days=settings.keep_syncs_days),
    )


@contextmanager
def stop_signals() -> Generator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set. The next one of them ends the process as it ends any other."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def release() -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(one)

    def told() -> None:
        stop.set()
        release()

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, told)
    try:
        yield stop
    finally:
        release()


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that listens there. Raises CannotStart."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = _bound(family, host, port)
    except OSError as trouble:
        raise cannot_listen(trouble, host=host, port=port) from None
    with listener:
        yield listener


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # With the protocol named, or the event loop would leave Nagle's algorithm on: 40 ms more for every answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def cannot_listen(trouble: OSError, *, host: str, port: int) -> CannotStart:
    """What to tell of an attempt to listen that failed."""
    if trouble.errno == errno.EADDRINUSE:
        return CannotStart(f"Port {port} of {host} is in use: stop what listens there, or choose another port.")
    return CannotStart(f"Nothing can listen on port {port} of {host}: {trouble.strerror}")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _link_for_first_owner(database: Database) -> str | None:
    async with database.transaction() as tx:
        return await links.for_first_owner(tx, now=clock.now())


async def _has_project(database: Database) -> bool:
    async with database.reading() as tx:
        return bool(await projects.all_projects(tx))
