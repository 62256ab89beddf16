"""The guides say what is so: every link to code, every request and every word that they explain."""

import ast
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from attendee.model import CalendarId, DisconnectCode
from attendee.sandbox.seed import seed_week
from notetaker.pages import FAILURES
from tests.notetaker.running import Running, running

_ROOT = Path(__file__).parent.parent
_DOCS = _ROOT / "docs"
_PAGES = (_DOCS / "guide.md", _DOCS / "troubleshooting.md")
_README = _ROOT / "examples" / "notetaker" / "README.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def definitions(path: Path) -> dict[str, str]:
    """Where each function of the file is, as GitHub's anchors say it; without its decorators."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = f"L{node.lineno}-L{node.end_lineno}"
    return found


def headings(path: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [*_PAGES, _README, _ROOT / "README.md"], ids=lambda page: page.parent.name + page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files are there, headings are there, and the lines of a function are those that it stands in."""
    wrong = []
    for name, target in LINK.findall(page.read_text()):
        address, _, anchor = target.partition("#")
        if "://" in address:
            continue
        path = page.parent / address if address else page
        if not path.exists():
            wrong.append(f"{target}: no such file")
        elif path.suffix == ".md" and anchor and anchor not in headings(path):
            wrong.append(f"{target}: no such heading")
        elif path.suffix == ".py" and anchor and definitions(path).get(name.strip("`*")) != anchor:
            wrong.append(f"{target}: {name} is at #{definitions(path).get(name.strip('`*'))}")
    assert wrong == []


def test_code_of_the_example_is_linked_by_its_lines() -> None:
    """Who follows a link of the guide stands at the function, not at the top of a file."""
    links = [target for page in _PAGES for _, target in LINK.findall(page.read_text()) if ".py" in target]
    assert len(links) > 20
    assert [target for target in links if "#L" not in target] == []


@pytest.fixture
async def notetaker(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(sqlite_url, tmp_path) as notetaker:
        yield notetaker


async def test_every_request_is_answered(notetaker: Running) -> None:
    """Sent in the order of the pages to one service, each succeeds; its answers fill in those that follow."""
    person = notetaker.here.world.add_person("ana@acme.example")
    seed_week(person.primary, now=notetaker.here.clock())
    known = {
        "CLIENT_ID": "sandbox-client",
        "CLIENT_SECRET": "sandbox-secret",
        "REFRESH_TOKEN": notetaker.here.world.authorise(person),
        # Until the guide has made one, and after it has deleted that.
        "CALENDAR_ID": (spare := (await notetaker.here.connect(person)).id),
    }
    blocks = [block for page in _PAGES for block in blocks_of(page, "http")]
    assert len(blocks) > 10
    for block in blocks:
        line, _, body = re.sub("|".join(known), lambda name: known[name[0]], block).partition("\n")
        method, path = line.split(" ")
        answer = await notetaker.client.ask(method, path, json=json.loads(body) if body.strip() else None)
        assert answer.status in {200, 201, 202}, f"{line}: {answer.status} {answer.raw!r}"
        match method, path.rpartition("/")[2]:
            case "POST", "webhooks":
                known["WEBHOOK_ID"] = answer.json["id"]
            case "POST", "bots":
                known["BOT_ID"] = answer.json["id"]
            case "POST", "calendars":
                known["CALENDAR_ID"] = answer.json["id"]
                known["EVENT_ID"] = await event_with_link(notetaker, known["CALENDAR_ID"])
            case "DELETE", calendar_id if calendar_id == known["CALENDAR_ID"]:
                known["CALENDAR_ID"] = spare


async def event_with_link(notetaker: Running, calendar_id: str) -> str:
    """The id of the last event that a bot can join, once the calendar has been synced."""
    await notetaker.here.sync(CalendarId(calendar_id))
    events = await notetaker.client.get(f"/calendar_events?calendar_id={calendar_id}&ordering=-start_time")
    return next(str(event["id"]) for event in events.json["results"] if event["meeting_url"])


async def test_webhook_is_shown_as_it_is(notetaker: Running) -> None:
    """The guide's example has the fields of a real one, and no others."""
    person = notetaker.here.world.add_person("ana@acme.example")
    person.primary.put("one", title="One", starts=notetaker.here.clock())
    calendar = await notetaker.here.connect(person, metadata={"tenant": "acme"})
    await notetaker.here.sync(calendar.id)
    (real,) = await notetaker.news()
    (shown,) = map(json.loads, blocks_of(_PAGES[0], "json"))
    assert shown.keys() == real.keys()
    assert shown["data"].keys() == real["data"].keys()
    assert shown["data"]["events"].keys() == real["data"]["events"].keys()


def test_every_reason_to_disconnect_is_explained() -> None:
    """Each code has its own section with cause and cure, and words for users in the example; no other word has."""
    text = _PAGES[1].read_text()
    sections = re.findall(r"^### `(\w+)`\n(.+?)(?=^#)", text, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in sections} == set(DisconnectCode)
    assert FAILURES.keys() == set(DisconnectCode)
    assert [name for name, said in sections if "**Cause.**" not in said or "**Cure.**" not in said] == []
