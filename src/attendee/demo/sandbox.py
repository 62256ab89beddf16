"""The sandbox by itself, with a person's week at each of the platforms."""

from collections.abc import Callable

from attendee import clock, serving
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.microsoft_seed import seed_microsoft_week
from attendee.sandbox.seed import seed_week
from attendee.sandbox.world import World


async def serve_sandbox(port: int, *, tell: Callable[[str], None]) -> None:
    """Serves until Ctrl-C, on loopback. Raises CannotStart where it can't listen."""
    world = World(clock.now)
    try:
        server = SandboxServer(world, port=port)
    except OSError as trouble:
        raise serving.cannot_listen(trouble, host="127.0.0.1", port=port) from None
    ada = world.add_person("ada.lind@acme.example", name="Ada Lind", zone="Europe/Berlin")
    seed_week(ada.primary, now=clock.now(), room_link=world.rooms.links.new())
    mia = world.add_person("mia@customer.example", name="Mia Berg", platform="microsoft", zone="Europe/Berlin")
    seed_microsoft_week(mia.primary, now=clock.now())
    with serving.stop_signals() as stop:
        async with server:
            tell(f"The sandbox is up at {server.url}. Ctrl-C stops it.")
            await stop.wait()
