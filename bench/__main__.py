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
from typing import Any

import aiohttp
import uvloop
from rich.console import Console

from attendee import clock
from bench import claim, dashboard, first_sync, growth, idle, launches, links, memory, pages, push, quiet, report
from bench.curves import CURVES
from bench.results import Result, print_curves, print_table
from bench.surroundings import Surroundings

_BUDGETS: dict[str, Callable[[Surroundings], Awaitable[list[Result]]]] = {
    "push": push.measure,
    "quiet": quiet.measure,
    "first_sync": first_sync.measure,
    "pages": pages.measure,
    "growth": growth.measure,
    "claim": claim.measure,
    "idle": idle.measure,
    "memory": memory.measure,
    "launches": launches.measure,
    "links": links.measure,
    "dashboard": dashboard.measure,
}


async def _measure(names: Sequence[str], progress: Console) -> dict[str, dict[str, Any]]:
    """What is known under each name: its results or curves, when and on what they were measured."""
    began = time.monotonic()

    def tell(what: str) -> None:
        progress.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {what}", highlight=False)

    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="attendee-bench-") as directory:
        async with aiohttp.ClientSession() as http:
            surroundings = Surroundings(Path(directory), http, tell)
            try:
                for name in names:
                    entry: dict[str, Any] = {"measured_on": clock.now().date(), "machine": _machine()}
                    if name in _BUDGETS:
                        entry["results"] = await _BUDGETS[name](surroundings)
                    else:
                        entry["curves"] = await CURVES[name](surroundings)
                    measured[name] = entry
            finally:
                await asyncio.to_thread(surroundings.remove_postgresql)
    return measured


def _machine() -> dict[str, Any]:
    """What the figures are of. `load` is what others did just before."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cores": os.cpu_count(),
        "processor": processor,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the budgets, and how they grow.")
    known = [*_BUDGETS, *CURVES]
    told = f"one of {', '.join(_BUDGETS)}; or a curve of {', '.join(CURVES)}, or curves; without any, all budgets"
    parser.add_argument("names", nargs="*", metavar="NAME", help=told)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results there too, each name's last")
    arguments = parser.parse_args()
    names = [one for name in arguments.names or _BUDGETS for one in (CURVES if name == "curves" else [name])]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no budget {unknown[0]!r}; there are {', '.join(known)}")
    measured = uvloop.run(_measure(names, Console(stderr=True)))
    console = Console(width=None if sys.stdout.isatty() else 150)
    results = [one for entry in measured.values() for one in entry.get("results", ())]
    if results:
        print_table(console, results)
    for entry in measured.values():
        print_curves(console, entry.get("curves", ()))
    if arguments.json is not None:
        for entry in measured.values():
            if "results" in entry:
                entry["results"] = [one.as_json() for one in entry["results"]]
        report.keep(arguments.json, measured)


if __name__ == "__main__":
    main()
