"""What every request meets: the key, the error table, ids of requests, limits, and failures of our own."""

import re
import socket
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from yarl import URL

from attendee.api.problems import refused
from attendee.errors import ClaimLost
from attendee.store import projects, tables
from attendee.store.database import Database
from tests.api.serving import CALENDAR, LINK, Client, Served, new_app, served_app

MEBIBYTE = 1024 * 1024

EVERY_ROUTE = [
    ("GET", "/calendars"),
    ("POST", "/calendars"),
    ("GET", "/calendars/{calendar}"),
    ("PATCH", "/calendars/{calendar}"),
    ("DELETE", "/calendars/{calendar}"),
    ("POST", "/calendars/{calendar}/sync"),
    ("GET", "/calendars/{calendar}/platform_calendars"),
    ("GET", "/calendars/{calendar}/export"),
    ("GET", "/calendar_events"),
    ("GET", "/calendar_events/{event}"),
    ("GET", "/calendar_events/{event}/activity"),
    ("GET", "/bots"),
    ("POST", "/bots"),
    ("GET", "/bots/{bot}"),
    ("PATCH", "/bots/{bot}"),
    ("DELETE", "/bots/{bot}"),
    ("POST", "/bots/{bot}/leave"),
    ("GET", "/bots/{bot}/activity"),
    ("GET", "/webhooks"),
    ("POST", "/webhooks"),
    ("GET", "/webhooks/{webhook}"),
    ("PATCH", "/webhooks/{webhook}"),
    ("DELETE", "/webhooks/{webhook}"),
    ("POST", "/webhooks/{webhook}/test"),
    ("GET", "/webhooks/{webhook}/deliveries"),
    ("POST", "/webhook_deliveries/{delivery}/redeliver"),
    ("POST", "/webhook_deliveries/redeliver_failed"),
]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
async def test_no_route_answers_without_a_key(client: Client, method: str, path: str) -> None:
    """401 comes before everything else: before a body that is not JSON, and before an id that nobody has."""
    client.key = None
    answer = await client.ask(method, "/api/v1" + path.format_map(_Unknown()) + "?cursor=bad", data=b"{")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert list(answer.json) == ["detail"]


async def test_keys_are_accepted_as_token_and_bearer_in_any_case(api: Served, client: Client) -> None:
    """The scheme word is matched case-insensitively; anything else is malformed."""
    for scheme in ("Token", "token", "TOKEN", "Bearer", "bearer"):
        assert (
            await client.ask("GET", "/api/v1/bots", headers={"Authorization": f"{scheme} {client.key}"})
        ).status == 200
    for header in ("", "Token", "Token ", f"Basic {client.key}", f"{client.key}", f"Token {client.key} x", "Token é"):
        answer = await client.ask("GET", "/api/v1/bots", headers={"Authorization": header})
        assert (answer.status, list(answer.json)) == (401, ["detail"]), header


async def test_a_disabled_key_opens_nothing_any_more(api: Served, client: Client) -> None:
    """From the moment of disabling on; and the hour of its last use is known until then."""
    assert (await client.get("/bots")).status == 200
    async with api.database.transaction() as tx:
        [key] = await projects.keys(tx, project_id=api.project_id)
        assert key.last_used_at == api.clock.at
        await projects.disable_key(tx, key.id, now=api.clock.at)
    answer = await client.get("/bots")
    assert (answer.status, list(answer.json)) == (401, ["detail"])


@pytest.mark.parametrize(("method", "path"), [route for route in EVERY_ROUTE if "{" in route[1]])
async def test_what_belongs_to_another_project_does_not_exist(api: Served, method: str, path: str) -> None:
    """Every route with an id answers another project as it answers for an id that nobody has."""
    ids = await _one_of_each(api)
    other = await api.another_project()
    body: dict[str, str] | None = {} if method == "PATCH" else None
    foreign = await other.ask(method, "/api/v1" + path.format(**ids), json=body)
    unknown = await other.ask(method, "/api/v1" + path.format_map(_Unknown()), json=body)
    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.json == unknown.json
    assert re.fullmatch(r"[A-Z][a-z ]+ not found", foreign.json["error"])


async def test_listings_and_filters_show_nothing_of_another_project(api: Served) -> None:
    """Another project's ids and keys as filters give empty pages, and its event takes no bot of ours."""
    ids = await _one_of_each(api)
    other = await api.another_project()
    for path in (
        "/calendars",
        "/calendars?deduplication_key=theirs",
        "/calendar_events",
        f"/calendar_events?calendar_id={ids['calendar']}",
        "/calendar_events?calendar_deduplication_key=theirs",
        f"/calendar_events?event_id={ids['event']}",
        "/bots",
        f"/bots?calendar_event_id={ids['event']}",
        "/webhooks",
    ):
        answer = await other.get(path)
        assert (answer.status, answer.json["results"]) == (200, []), path
    made = await other.post("/bots", {"bot_name": "A", "calendar_event_id": ids["event"]})
    assert (made.status, list(made.json)) == (400, ["error"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"'a'",
        b"NaN",
        b'{"client_id": "\\ud800"}',
        b'{"client_id": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b'{"metadata": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"metadata": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400_with_detail(client: Client, body: bytes) -> None:
    """Not JSON, not UTF-8, half a surrogate pair, not an object, or absurdly deep: 400 and never a 500."""
    for path in ("/api/v1/calendars", "/api/v1/bots", "/api/v1/webhooks"):
        answer = await client.ask("POST", path, data=body)
        assert (answer.status, list(answer.json)) == (400, ["detail"])


async def test_a_content_type_is_not_needed(client: Client) -> None:
    """A body is JSON whatever it is called; command line clients often call it a form."""
    for name in ("application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded"):
        answer = await client.ask(
            "POST", "/api/v1/calendars", data=orjson.dumps(CALENDAR), headers={"Content-Type": name}
        )
        assert answer.status == 201


async def test_an_unknown_path_and_a_wrong_method_have_their_own_bodies(client: Client) -> None:
    """404 {"error": "Not found"}; 405 {"detail"} with every method that the path has."""
    for path in ("/", "/api/v1", "/api/v1/nothing", "/api/v1/calendars//", "/api/v1/bots/%00", "/api/v1/bots/a/b/c"):
        answer = await client.ask("GET", path)
        assert (answer.status, answer.json) == (404, {"error": "Not found"}), path
    wrong = await client.ask("PUT", "/api/v1/calendars/cal_1")
    assert (wrong.status, list(wrong.json)) == (405, ["detail"])
    assert wrong.headers["Allow"] == "DELETE, GET, PATCH"


async def test_head_is_answered_as_get_without_the_body(client: Client) -> None:
    """So that a monitor may ask for `/healthz` with it; a path that has no GET has no HEAD."""
    for path, status in (("/healthz", 200), ("/api/v1/calendars", 200), ("/api/v1/calendars/cal_1", 404)):
        head, got = [await client.ask(method, path) for method in ("HEAD", "GET")]
        assert (head.status, head.raw) == (status, b""), path
        assert head.headers["Content-Length"] == str(len(got.raw))
    assert (await client.ask("HEAD", "/api/v1/bots/bot_1/leave")).status == 405


@pytest.mark.parametrize(
    ("path", "field", "value", "sentence"),
    [
        ("/calendars/{calendar}", "refresh_token", 5, "Must be a string."),
        ("/calendars/{calendar}", "metadata", {}, "Must have at least one key."),
        ("/calendars/{calendar}", "metadata", {"a": 1}, "metadata.a: Must be a string."),
        ("/bots/{bot}", "join_at", "soon", "Must be a time in ISO 8601, such as 2026-11-23T09:30:00Z."),
        ("/bots/{bot}", "bot_name", "", "This field may not be blank."),
        ("/webhooks/{webhook}", "triggers", [], "May not be empty."),
        ("/webhooks/{webhook}", "is_active", "yes", "Must be true or false."),
    ],
)
async def test_a_wrong_field_of_a_change_is_told_in_one_sentence(
    api: Served, path: str, field: str, value: Any, sentence: str
) -> None:
    """As on creation: nothing is said of how the field is checked."""
    refused = await api.client.patch(path.format(**await _one_of_each(api)), {field: value})
    assert (refused.status, refused.json) == (400, {field: [sentence]})


async def test_one_trailing_slash_is_tolerated(api: Served, client: Client) -> None:
    """With it a path is the same path, for every method."""
    made = await client.post("/calendars/", CALENDAR)
    assert made.status == 201
    assert (await client.get(f"/calendars/{made.json['id']}/")).json == made.json
    assert (await client.get("/calendars/?deduplication_key=x")).json["results"] == []


async def test_every_answer_has_a_request_id(client: Client) -> None:
    """The client's own if it is sane, else one of ours; on errors too."""
    for path in ("/healthz", "/nothing", "/api/v1/bots", "/api/v1/bots/none"):
        assert re.fullmatch(r"[0-9a-f]{32}", (await client.ask("GET", path)).headers["X-Request-ID"])
    kept = await client.ask("GET", "/nothing", headers={"X-Request-ID": "abc-1.2:3"})
    assert kept.headers["X-Request-ID"] == "abc-1.2:3"
    for odd in ("with space", "x" * 129, "<b>"):
        assert (await client.ask("GET", "/nothing", headers={"X-Request-ID": odd})).headers["X-Request-ID"] != odd


async def test_a_body_over_a_mebibyte_is_refused(client: Client) -> None:
    """By its announced length, and by counting where none is announced; a bot's image may be larger."""
    large = orjson.dumps({**CALENDAR, "platform_uuid": "x" * MEBIBYTE})

    async def in_pieces() -> Any:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    for body in (large, in_pieces()):
        answer = await client.ask("POST", "/api/v1/calendars", data=body)
        assert (answer.status, list(answer.json)) == (413, ["detail"])
    bot = {"bot_name": "A", "meeting_url": LINK}
    image = {"bot_image": {"type": "image/png", "data": "x" * (3 * MEBIBYTE)}}
    assert (await client.post("/bots", {**bot, **image})).status == 201
    assert (await client.post("/bots", {**bot, "debug_settings": {"x": "x" * MEBIBYTE}})).status == 413
    too_large = {"bot_image": {"data": "x" * (12 * MEBIBYTE)}}
    assert (await client.post("/bots", {**bot, **too_large})).status == 413


async def test_our_own_fault_is_a_500_with_the_id_that_the_log_has(api: Served, client: Client) -> None:
    """The client learns an id and nothing of what went wrong; the log has both."""
    async with api.database.transaction() as tx:
        await tx.run_sync(tables.bot_events.drop)
    with structlog.testing.capture_logs() as logs:
        answer = await client.post("/bots", {"bot_name": "A", "meeting_url": LINK})
    assert answer.status == 500
    assert sorted(answer.json) == ["error", "error_id"]
    assert b"bot_events" not in answer.raw
    assert answer.headers["X-Request-ID"]
    [entry] = logs
    assert (entry["error_id"], entry["log_level"]) == (answer.json["error_id"], "error")


async def test_a_refusal_that_has_no_answer_is_our_own_fault() -> None:
    """An error of the domain that the table does not have is raised again, so that it can't pass unseen."""
    with pytest.raises(ClaimLost):
        await refused(None, ClaimLost("cal_1"))


async def test_a_client_that_goes_away_while_it_sends_is_no_fault(client: Client) -> None:
    """Half a body and then nothing: no log entry, and the next request is served."""
    address = URL(client.address)
    assert address.host is not None
    assert address.port is not None
    with structlog.testing.capture_logs() as logs:
        with socket.create_connection((address.host, address.port)) as connection:
            head = ("POST /api/v1/bots HTTP/1.1", "Host: x", f"Authorization: Token {client.key}", "Content-Length: 9")
            connection.sendall("\r\n".join((*head, "", "{")).encode())
            assert (await client.get("/bots")).status == 200
        assert (await client.get("/bots")).status == 200
    assert logs == []


async def test_health_and_readiness(api: Served, client: Client) -> None:
    """Both need no key; readiness looks at the schema."""
    client.key = None
    assert (await client.ask("GET", "/healthz")).json == {"status": "ok"}
    ready = await client.ask("GET", "/readyz")
    name = api.key_ring.names[0]
    assert (ready.status, ready.json) == (200, {"status": "ready", "problem": None, "installation": name})
    async with api.database.transaction() as tx:
        await tx.exec_driver_sql("DROP TABLE alembic_version")
    outdated = await client.ask("GET", "/readyz")
    assert outdated.status == 503
    assert "attendee migrate" in outdated.json["problem"]


async def test_readiness_tells_of_a_database_that_is_away() -> None:
    """503 with plain words, and none of the driver's."""
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    async with served_app(new_app(database)) as address, aiohttp.ClientSession() as session:
        with structlog.testing.capture_logs() as logs:
            answer = await Client(session, address, key=None).ask("GET", "/readyz")
    await database.close()
    assert answer.status == 503
    assert (answer.json["status"], answer.json["problem"]) == ("not ready", "The database can't be reached.")
    assert [entry["log_level"] for entry in logs] == ["error"]


class _Unknown(dict[str, str]):
    """Ids that nobody has."""

    def __missing__(self, kind: str) -> str:
        return "none_0123456789abcdef"


async def _one_of_each(api: Served) -> dict[str, str]:
    calendar_id = await api.a_calendar(deduplication_key="theirs")
    event_id = await api.an_event(calendar_id)
    bot = await api.client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})
    webhook = await api.client.post("/webhooks", {"url": "https://a.example/", "triggers": ["bot.state_change"]})
    delivery = await api.client.post(f"/webhooks/{webhook.json['id']}/test")
    return {
        "calendar": calendar_id,
        "event": event_id,
        "bot": bot.json["id"],
        "webhook": webhook.json["id"],
        "delivery": delivery.json["id"],
    }
