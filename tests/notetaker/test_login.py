"""Signing in: who may, with what, and what is left behind."""

import sqlite3
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from attendee.demo.stage import StepFailed
from attendee.demo.visitor import Visitor
from attendee.sandbox.world import Person
from tests.notetaker.running import Running, form_token, stored, visiting


async def test_login_is_asked_for_with_state_and_pkce(notetaker: Running, person: Person) -> None:
    """The consent page gets a fresh state and a hashed verifier, and the platform's own wishes."""
    seen = set()
    for _ in range(2):
        address = f"{notetaker.url}/auth/{person.platform.value}"
        async with notetaker.here.http.get(address, allow_redirects=False) as answer:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
            cookie = answer.cookies["login"]
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{notetaker.url}/callback/{person.platform.value}"
        assert cookie.value == asked["state"]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "lax")
        seen |= {asked["state"], asked["code_challenge"]}
        if person.platform.value == "google":
            assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")
        else:
            assert "offline_access" in asked["scope"].split()
    assert len(seen) == 4


async def test_login_ends_only_where_it_began(notetaker: Running, person: Person) -> None:
    """Another browser, another platform's callback, a made-up state and a second use of one sign nobody in."""
    name = person.platform.value
    other = "microsoft" if name == "google" else "google"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{notetaker.url}/auth/{name}", allow_redirects=False) as answer:
            state = answer.cookies["login"].value
        for session, path in (
            (notetaker.here.http, f"/callback/{name}?state={state}&code=stolen"),
            (browser, f"/callback/{other}?state={state}&code=stolen"),
            (browser, f"/callback/{name}?state=made-up&code=stolen"),
            (browser, f"/callback/{name}?state={state}&error=access_denied"),
            (browser, f"/callback/{name}?state={state}&code=late"),
        ):
            async with session.get(notetaker.url + path) as answer:
                assert answer.status == 400
                assert "That did not work" in await answer.text()
                assert "session" not in answer.cookies
    assert (await notetaker.client.get("/calendars")).json["results"] == []


async def test_no_token_is_kept(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """Once handed over, the refresh token is in no file of the application, and never was in the browser."""
    await notetaker.sign_in(person, visitor)
    tokens = notetaker.here.world.grants.refresh_tokens
    assert tokens
    written = stored(notetaker.database)
    assert [token for token in tokens if token.encode() in written] == []
    cookies = {cookie.key: cookie for cookie in visitor._http.cookie_jar}
    assert set(cookies) == {"session"}
    assert (cookies["session"]["httponly"], cookies["session"]["samesite"]) == (True, "lax")
    # Neither does who reads the file get into a session.
    assert cookies["session"].value.encode() not in written


async def test_second_login_takes_the_calendar_over(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """Whoever comes again, in another browser or to an application that has lost its memory, keeps the calendar."""
    first = await notetaker.sign_in(person, visitor)
    async with visiting(notetaker.url) as elsewhere:
        assert await notetaker.sign_in(person, elsewhere) == first
    with sqlite3.connect(notetaker.database) as database:
        database.execute("DELETE FROM users")
    async with visiting(notetaker.url) as elsewhere:
        assert await notetaker.sign_in(person, elsewhere) == first
        assert len((await elsewhere.week()).statuses) == 6
    assert len((await notetaker.client.get("/calendars")).json["results"]) == 1


async def test_calendar_of_another_client_is_made_anew(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """A refresh token is good for its own OAuth client only, and a calendar can't change its client."""
    first = await notetaker.sign_in(person, visitor)
    with sqlite3.connect(notetaker.database) as database:
        (account,) = database.execute("SELECT account FROM users").fetchone()
    await notetaker.client.ask("DELETE", f"/api/v1/calendars/{first}")
    old = {
        "platform": person.platform.value,
        "client_id": "an older client",
        "client_secret": "s",
        "refresh_token": "r",
        "deduplication_key": f"{person.platform.value}:{account}",
    }
    before = (await notetaker.client.post("/calendars", old)).json["id"]
    assert await notetaker.sign_in(person, visitor) not in {first, before}
    assert len((await notetaker.client.get("/calendars")).json["results"]) == 1
    assert len((await visitor.week()).statuses) == 6


async def test_consent_without_the_calendar_is_refused(notetaker: Running, person: Person) -> None:
    """Google lets users untick it: that is told at once, and no calendar is made."""
    if person.platform.value == "microsoft":
        # There it is all or nothing: who cancels is sent back with an error.
        decision, scopes = "refuse", ""
    else:
        decision, scopes = "allow", "https://www.googleapis.com/auth/userinfo.email"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{notetaker.url}/auth/{person.platform.value}") as answer:
            page = answer.url
        form = {"person": person.email, "scope": scopes, "decision": decision}
        async with browser.post(page, data=form) as answer:
            assert answer.status == 400
            assert "That did not work" in await answer.text()
    assert (await notetaker.client.get("/calendars")).json["results"] == []


async def test_forms_of_others_change_nothing(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """A form without the session's own token, and a switch of somebody else's meeting, do nothing."""
    await notetaker.sign_in(person, visitor)
    event_id = next(iter((await visitor.week()).statuses))
    forged = {"csrf_token": "guess", "wanted": "true", "week": "0"}
    for path in ("/all", f"/events/{event_id}/notes", "/forget", "/sign-out"):
        async with visitor._http.post(notetaker.url + path, data=forged) as answer:
            assert answer.status == 200
    other = notetaker.here.world.add_person("eve@acme.example", platform=person.platform)
    async with visiting(notetaker.url) as eve:
        await notetaker.sign_in(other, eve)
        token = await form_token(eve._http, notetaker.url)
        await eve._http.post(f"{notetaker.url}/events/{event_id}/notes", data={**forged, "csrf_token": token})
    await notetaker.work()
    assert set((await visitor.week()).statuses.values()) == {"off"}
    assert (await notetaker.client.get("/bots")).json["results"] == []


async def test_service_that_is_away_is_told_of(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """The user is asked to come again, and sees no traceback."""
    with notetaker.service_is_away(), pytest.raises(StepFailed, match="answered with 502"):
        await visitor.sign_in(person.platform.value, email=person.email)
