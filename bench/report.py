"""What was measured as a document that is kept, and that document as a page with its pictures.

`make bench JSON=docs/performance.json` measures into it, `make reference` writes the page from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import plots
from bench.results import Curve, number

# In this order on the page, with what each one measures.
BUDGETS = {
    "quiet": "syncs that find no change, beside the bare request",
    "growth": "the same with more processes; the floor is one of them",
    "first_sync": "first syncs, beside fetch, decode and one upsert by hand",
    "push": "from a platform's message to the webhook, beside one request to each",
    "pages": "`GET /calendar_events`, beside a query by hand spliced into an answer",
    "claim": "claiming due rows among a million calendars",
    "idle": "10,000 calendars that are not due",
    "memory": "10,000 calendars in sync",
    "launches": "10,000 bots of one minute",
    "links": "finding meeting links",
    "dashboard": "each page, with 10,000 calendars",
}

_BEFORE = """# Performance

<!-- Written by `make reference` from performance.json. -->

Each figure stands beside its floor, the same work done by bare code in the same run, and beside its target. They depend
on the machine; measure on yours:

```sh
make bench                     # all budgets, in some minutes; it installs a PostgreSQL if there is none
make bench ONLY="quiet idle"   # some of them
make bench ONLY=curves         # how they grow, in twenty minutes more
```

`make bench JSON=docs/performance.json` keeps what it measures, each budget's last run, and `make reference` writes this
page from it. [Profiles](profiles.md) say where the time goes, and [Capacity](capacity.md) reckons with the figures: how
many calendars one machine keeps in sync, and ten.

`make chaos` kills processes at random for two minutes and then looks for a broken promise: a lost webhook, a second
order for a bot, a calendar that differs from the platform's.
"""

_AFTER = """
## What costs what

A quiet sync is one request and no read or write of an event; very many of them are settled by one statement. Work
sleeps until it is due, so calendars that are not due cost nothing. With PostgreSQL add workers for more syncs, and APIs
for more requests; `WORKER_CONCURRENCY` is how many syncs one process has in flight.
"""


def keep(file: Path, names: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts what was measured under each name into the document, in place of what was there before."""
    document = orjson.loads(file.read_bytes()) if file.exists() else {}
    file.write_bytes(orjson.dumps(document | dict(names), option=orjson.OPT_INDENT_2) + b"\n")


def page(document: Mapping[str, Any]) -> str:
    """The page in Markdown. Under `reasons` the document may say of each row why it misses its target, by hand."""
    lines = [_BEFORE, "## Budgets", ""]
    measured = {name: document[name] for name in BUDGETS if name in document}
    for name, one in measured.items():
        lines += [
            f"### [`{name}`](../bench/{name}.py): {BUDGETS[name]}",
            "",
            _told_of(one),
            "",
            *_table(one["results"]),
            "",
        ]
    missing = [name for name in BUDGETS if name not in document]
    if missing:
        lines += [f"Not measured for this page: {', '.join(f'`{name}`' for name in missing)}.", ""]
    lines += ["## What is not met", "", *_not_met(measured, document.get("reasons", {})), ""]
    grown = {name: entry for name, entry in document.items() if "curves" in entry}
    if grown:
        lines += ["## How it grows", ""]
    for name, entry in grown.items():
        lines += [f"### [`{name}`](../bench/curves.py)", "", _told_of(entry), ""]
        for curve in _curves(entry):
            lines += [f"![{curve.title} by {curve.along}](images/curve-{curve.name}.svg)", "", *_points(curve), ""]
    return "\n".join(lines).rstrip() + "\n" + _AFTER


def pictures(document: Mapping[str, Any]) -> dict[str, str]:
    """The name of each picture's file, and what belongs into it."""
    drawn = [curve for entry in document.values() for curve in _curves(entry)]
    return {f"curve-{curve.name}.svg": plots.drawn(curve) for curve in drawn}


def _curves(entry: Mapping[str, Any]) -> list[Curve]:
    return [
        Curve(
            points={series: [(at, value) for at, value in points] for series, points in one.pop("points").items()},
            **one,
        )
        for one in (dict(curve) for curve in entry.get("curves", ()))
    ]


def _told_of(entry: Mapping[str, Any]) -> str:
    """When and on what it was measured."""
    machine = entry["machine"]
    processor = f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}"
    return f"Measured on {entry['measured_on']}: {processor}, load {number(machine['load'])} just before."


def _table(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| what | on | median | spread | floor | ratio | target | met | wall s | CPU s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for one in results:
        cells = (
            one["what"],
            one["database"],
            f"{number(one['median'])} {one['unit']}",
            f"{number(one['least'])}–{number(one['most'])}",
            number(one["floor"]),
            number(one["ratio"]),
            one["target"] or "",
            {None: "", True: "yes", False: "**no**"}[one["is_met"]],
            number(one["wall_seconds"]),
            number(one["cpu_seconds"]),
        )
        yield f"| {' | '.join(cells)} |"


def _not_met(measured: Mapping[str, Any], reasons: Mapping[str, str]) -> Iterator[str]:
    missed = [one for entry in measured.values() for one in entry["results"] if one["is_met"] is False]
    if not missed:
        yield "Nothing of what was measured misses its target."
    for one in missed:
        beside = f", {number(one['ratio'])} × its floor" if one["ratio"] else ""
        what = f"{one['what']} on {one['database']}"
        why = reasons.get(one["what"], "")
        yield f"- {what}: {number(one['median'])} {one['unit']}{beside}; target {one['target']}. {why}".rstrip()


def _points(curve: Curve) -> Iterator[str]:
    """What the picture shows, as numbers; nothing of a curve with too many points to be read."""
    places = [at for at, _ in next(iter(curve.points.values()))]
    if len(places) > 8:
        return
    yield f"| {curve.along} | {' | '.join(f'{place:,.0f}' for place in places)} |"
    yield "|---" * (len(places) + 1) + "|"
    for series, points in curve.points.items():
        yield f"| {series}, {curve.unit} | {' | '.join(number(value) for _, value in points)} |"
