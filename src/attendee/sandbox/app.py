"""The sandbox as one web application, and as a server inside a running event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from attendee.sandbox.control import Control
from attendee.sandbox.fleet import FLEET, Fleet
from attendee.sandbox.google import Google
from attendee.sandbox.microsoft import Microsoft
from attendee.sandbox.misbehaviour import CUT_EXTENSION
from attendee.sandbox.pages import Pages
from attendee.sandbox.pushes import Pushes
from attendee.sandbox.rendering import STATIC
from attendee.sandbox.room_pages import RoomPages
from attendee.sandbox.world import World


def build_app(world: World) -> Starlette:
    """The application over one world. Push messages go out, and bots live, while its lifespan lasts."""
    pushes, fleet = Pushes(), Fleet(world)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await pushes.start()
        await fleet.start()
        yield
        await fleet.stop()
        await pushes.stop()

    google = Google(world, pushes)
    routes = [
        Mount("/google", routes=google.routes()),
        Mount("/microsoft", routes=Microsoft(world, pushes).routes()),
        Mount(FLEET, routes=fleet.routes()),
        Mount("/sandbox/api", routes=Control(world, fleet).routes()),
        Mount("/static", StaticFiles(directory=STATIC)),
        *RoomPages(world).routes(),
        *Pages(world).routes(),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.world = world
    app.state.pushes = pushes
    app.state.fleet = fleet
    return app


class Connection(HttpToolsProtocol):
    """A connection that a fault can cut."""

    def on_message_begin(self) -> None:
        """Hands the cut to the request."""
        super().on_message_begin()
        # ASGI wants dicts as extensions, so the call itself is inside one.
        self.scope["extensions"] = {CUT_EXTENSION: {"cut": self.transport.abort}}


class QuietServer(uvicorn.Server):
    """A server inside somebody else's event loop: leaves signals to the process around, and says when it is up.

    It ends when it is told to, not a few tenths of a second later: uvicorn looks now and then whether it is to end.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Lets `serve` return once the requests at hand are answered, or `timeout_graceful_shutdown` has passed."""
        self._ending.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As usual, and tells."""
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """Keeps the date of the answers right until the end."""
        while not self._ending.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), timeout=1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As usual, without the naps."""
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(self.server_state.tasks, timeout=self.config.timeout_graceful_shutdown)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.lifespan.shutdown()


class SandboxServer:
    """`async with SandboxServer(world) as sandbox: sandbox.url` serves on loopback; port 0 takes a free one."""

    def __init__(self, world: World, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.world = world
        self.app = build_app(world)
        # Named as TCP, for asyncio switches Nagle's algorithm off only where it sees that: 40 ms an answer else.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        world.rooms.links.serve_at(self.url)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            log_level="critical",
            access_log=False,
            http=Connection,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
        self._server = QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def google_url(self) -> str:
        """Where Google begins: the address for `GOOGLE_API_URL`."""
        return f"{self.url}/google"

    @property
    def microsoft_url(self) -> str:
        """Where Microsoft begins: `MICROSOFT_GRAPH_URL` is this with `/v1.0`."""
        return f"{self.url}/microsoft"

    @property
    def fleet_url(self) -> str:
        """Where the fleet of bots takes orders: the address for `BOT_RUNNER_URL`."""
        return f"{self.url}{FLEET}"

    async def reported(self) -> None:
        """Comes back when all that bots have reported so far has been answered or given up."""
        await self.app.state.fleet.settled()

    async def pushed(self) -> None:
        """Comes back when every push message so far has been answered or given up."""
        await self.app.state.pushes.settled()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await self._server.up.wait()
        return self

    async def __aexit__(self, *exception: object) -> None:
        # Whoever hangs or watches a room is let go, or the server would wait for them.
        self.world.faults.switch_off()
        self.world.rooms.close()
        self._server.end()
        if self._task is not None:
            await self._task
