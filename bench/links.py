"""Meeting links: how often the right one is found, how fast texts are read, and how the cost of the worst grows.

Nothing here needs a database: `make links` measures this alone.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attendee.meetings import find_meeting_url
from bench.results import AtLeast, AtMost, Figure, Result
from bench.surroundings import Surroundings

_DATA = Path(__file__).parent.parent / "tests" / "data"
_ROUNDS = 5
_BODIES = 400
# As long as an agenda with its invitation below.
_BODY_LENGTH = 10_000
_WORDS = (
    "the of and to in is that for it as with on be at by this from or an are not have we can all our there more when "
    "who will if no out so said what up about into than them only some could time these may then do first new now such"
)
_LINK = "\nJoin the meeting: https://acme.zoom.us/j/98765432100?pwd=Zm9v\n"
# Hostile texts of 62.5 kB and of 1 MB. A text 16 times as long would cost 256 times as much if anything were quadratic;
# twice what is linear is left to caches that no longer hold it, and to so little being measured badly.
_LENGTH, _TIMES_LONGER, _TIMES_DEARER = 62_500, 16, 32


async def measure(surroundings: Surroundings) -> list[Result]:
    surroundings.tell("links: the corpus")
    results = _corpus()
    surroundings.tell("links: plain text")
    without = [_prose(seed) for seed in range(_BODIES)]
    half = [body + _LINK if number % 2 else body for number, body in enumerate(without)]
    results += [
        _speed("plain text, a link in every other body", half, AtLeast(100)),
        _speed("plain text without a link", without, AtLeast(100)),
        _speed("HTML with an invitation", [_html(body) for body in without[:50]], None),
    ]
    surroundings.tell("links: hostile text")
    return [*results, *_growth()]


def _corpus() -> list[Result]:
    cases = [json.loads(line) for line in (_DATA / "meeting_links.jsonl").read_text().splitlines()]
    found = [_found(case) for case in cases]
    right = sum(url is not None and url == case["expected"] for url, case in zip(found, cases, strict=True))
    given = sum(url is not None for url in found)
    wanted = sum(case["expected"] is not None for case in cases)
    return [
        _row(f"links: precision, {len(cases)} cases", "%", [100 * right / given], AtLeast(99)),
        _row(f"links: recall, {wanted} meetings among them", "%", [100 * right / wanted], AtLeast(99)),
    ]


def _found(case: dict[str, Any]) -> str | None:
    texts = {name: case.get(name, "") for name in ("location", "body", "title")}
    return find_meeting_url(conference=case.get("conference", ()), **texts)


def _speed(what: str, bodies: Sequence[str], target: AtLeast | None) -> Result:
    megabytes = sum(len(body.encode()) for body in bodies) / 1e6

    def read_all() -> None:
        for body in bodies:
            find_meeting_url(conference=(), location="Room Alder", body=body, title="Weekly")

    seconds = [_cpu_seconds(read_all) for _ in range(_ROUNDS)]
    return _row(f"links: {what}, per core", "MB/s", [megabytes / each for each in seconds], target)


def _growth() -> list[Result]:
    """Of all hostile texts the one that is dearest, and the one whose cost grows most when it is made longer."""
    slowest, steepest = 0.0, 0.0
    for unit in json.loads((_DATA / "hostile_units.json").read_text()):
        short, long = (_seconds_to_read(unit, length) for length in (_LENGTH, _LENGTH * _TIMES_LONGER))
        slowest = max(slowest, long)
        # What takes a few milliseconds is measured too badly to say how it grows.
        steepest = max(steepest, long / max(short, 0.01))
    return [
        _row("links: 1 MB of the worst hostile text", "s", [slowest], None),
        _row(
            f"links: {_TIMES_LONGER} times as much hostile text, times as dear", "×", [steepest], AtMost(_TIMES_DEARER)
        ),
    ]


def _seconds_to_read(unit: str, length: int) -> float:
    # A personal room in front has everything around it looked at.
    text = "https://zoom.us/my/ana " + unit * (length // len(unit))
    return min(
        _cpu_seconds(lambda: find_meeting_url(conference=(), location="", body=text, title="")) for _ in range(3)
    )


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _row(what: str, unit: str, values: Sequence[float], target: AtLeast | AtMost | None) -> Result:
    return Result(what=what, database="", unit=unit, ours=Figure.of(values), target=target)


def _prose(seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311  # It must be repeatable, not secret.
    words = _WORDS.split()
    text = ""
    while len(text) < _BODY_LENGTH:
        sentence = " ".join(chance.choice(words) for _ in range(chance.randint(6, 18)))
        # Every fortieth sentence names a page.
        text += f"{sentence.capitalize()}." + chance.choice(
            (*[" "] * 31, *["\n"] * 8, " See https://docs.acme.example/7. ")
        )
    return text


def _html(prose: str) -> str:
    paragraphs = "".join(f'<p class="MsoNormal"><span lang="EN-US">{line}</span></p>' for line in prose.split("\n"))
    return f'<html><body>{paragraphs}<a href="{_LINK.rsplit(maxsplit=1)[-1]}">Join the meeting now</a></body></html>'
