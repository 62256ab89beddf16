"""The floor of a sync, as a process of its own: the same request with the same client, and nothing around it.

`python -m bench.bare_requests ADDRESS` makes it `_COUNT` times, and prints the CPU seconds and the seconds of one.
"""

import asyncio
import sys
import time

import aiohttp
import orjson
import uvloop
from yarl import URL

_COUNT = 4_000
_AT_ONCE = 16
_WARM_UP = 200
# What a sync without changes asks of Google.
_POSITION = (
    "/calendar/v3/calendars/primary/events?singleEvents=true&showDeleted=true&maxResults=1000"
    "&syncToken=CPDAlvWDx70CEPDAlvWDx70CGAU%3D"
)


async def measure(address: str) -> dict[str, float]:
    """Seconds and CPU seconds of one request."""
    url = URL(address + _POSITION, encoded=True)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as http:

        async def ask(times: int) -> None:
            for _ in range(times):
                async with http.get(url, headers={"Authorization": "Bearer ya29.bench"}) as response:
                    await response.read()

        await asyncio.gather(*(ask(_WARM_UP // _AT_ONCE) for _ in range(_AT_ONCE)))
        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(_COUNT // _AT_ONCE) for _ in range(_AT_ONCE)))
        return {
            "seconds": (time.perf_counter() - began) / _COUNT,
            "cpu_seconds": (time.process_time() - cpu_began) / _COUNT,
        }


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(uvloop.run(measure(sys.argv[1]))).decode())
