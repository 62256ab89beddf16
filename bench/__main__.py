"""`python -m bench [NAME ...] [--json FILE]`: measures budgets and prints them in one table."""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import orjson
import uvloop
from rich.console import Console

from bench import claim, dashboard, growth, idle, launches, links, memory, push, quiet
from bench.results import Result, print_table
from bench.surroundings import Surroundings

_BUDGETS: dict[str, Callable[[Surroundings], Awaitable[list[Result]]]] = {
    "push": push.measure,
    "quiet": quiet.measure,
    "growth": growth.measure,
    "claim": claim.measure,
    "idle": idle.measure,
    "memory": memory.measure,
    "launches": launches.measure,
    "links": links.measure,
    "dashboard": dashboard.measure,
}


async def _measure(names: Sequence[str], progress: Console) -> list[Result]:
    began = time.monotonic()

    def tell(what: str) -> None:
        progress.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {what}", highlight=False)

    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="attendee-bench-") as directory:
        async with aiohttp.ClientSession() as http:
            surroundings = Surroundings(Path(directory), http, tell)
            try:
                for name in names:
                    results += await _BUDGETS[name](surroundings)
            finally:
                await asyncio.to_thread(surroundings.remove_postgresql)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the budgets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(_BUDGETS)}; without any, all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in _BUDGETS]
    if unknown:
        parser.error(f"there is no budget {unknown[0]!r}; there are {', '.join(_BUDGETS)}")
    results = uvloop.run(_measure(arguments.names or list(_BUDGETS), Console(stderr=True)))
    print_table(Console(width=None if sys.stdout.isatty() else 150), results)
    if arguments.json is not None:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
        document = {"machine": machine, "results": [one.as_json() for one in results]}
        arguments.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
