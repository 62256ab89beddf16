"""Accounts: links, signing in and out, and what guessers get."""

import asyncio
import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from attendee.errors import NotAllowed
from attendee.model import Role
from attendee.store import account_tables, links, sessions, users
from tests.dashboard.visiting import PASSWORD, Visited, visited
from tests.installation import until

OWNER = "ada@acme.example"
CHOSEN = {"password": PASSWORD, "again": PASSWORD}


async def first_link(here: Visited) -> str:
    async with here.database.transaction() as tx:
        secret = await links.for_first_owner(tx, now=here.clock())
    assert secret is not None
    return f"/links/{secret}"


async def test_the_first_link_makes_the_owner_and_only_one(here: Visited) -> None:
    """Of two links to ownership the first that is used counts; from then on nobody is offered another."""
    one, other = await first_link(here), await first_link(here)
    browser = here.browser()
    assert "owner" in (await browser.get(one)).text
    made = await browser.post(one, {"email": " Ada@Acme.example ", **CHOSEN})
    assert (made.status, made.location) == (303, "/")
    assert OWNER in (await browser.get("/users")).text
    for link in (one, other):
        assert (await here.browser().get(link)).status == 410
        assert (await here.browser().post(link, {"email": "eve@acme.example", **CHOSEN})).status == 410
    async with here.database.transaction() as tx:
        assert await links.for_first_owner(tx, now=here.clock()) is None


async def test_two_can_not_both_be_the_first_owner(here: Visited) -> None:
    """Two people who use two links at the same moment: one account, one refusal."""
    answers = await asyncio.gather(
        *[
            here.browser().post(await first_link(here), {"email": f"{name}@acme.example", **CHOSEN})
            for name in ("ada", "eve")
        ]
    )
    assert sorted(answer.status for answer in answers) == [303, 410]
    async with here.database.reading() as tx:
        assert len(await users.all_users(tx)) == 1


async def test_a_link_ends(here: Visited) -> None:
    """A week later it opens nothing, and a newer one makes it worthless at once."""
    user = await here.user(OWNER, role=Role.OWNER)
    old, new = await here.link(user), await here.link(user)
    assert (await here.browser().get(f"/links/{old}")).status == 410
    assert (await here.browser().get(f"/links/{new}")).status == 200
    here.clock.at += links.LASTS
    assert (await here.browser().get(f"/links/{new}")).status == 410
    assert (await here.browser().post(f"/links/{new}", CHOSEN)).status == 410
    assert (await here.browser().get("/links/nonsense")).status == 410


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "short", "again": "short"}, "at least 10 characters"),
        ({"password": "x" * 1001, "again": "x" * 1001}, "at most 1000"),
        ({"password": PASSWORD, "again": PASSWORD + "!"}, "not the same"),
        ({"email": "nobody", **CHOSEN}, "no e-mail address"),
    ],
)
async def test_a_link_survives_a_mistake(here: Visited, fields: dict[str, str], words: str) -> None:
    """A password that can't be taken is explained on the form, and the link is still good."""
    link = await first_link(here)
    refused = await here.browser().post(link, {"email": OWNER, **fields})
    assert refused.status == 400
    assert words in refused.text
    assert (await here.browser().post(link, {"email": OWNER, **CHOSEN})).status == 303


async def test_signing_in_leads_back_to_the_page_that_was_wanted(here: Visited) -> None:
    """And never to another site."""
    await here.user(OWNER, role=Role.OWNER)
    browser = here.browser()
    asked = await browser.get(f"/projects/{here.project_id}/settings/keys?x=1")
    assert asked.location == f"/sign-in?next=/projects/{here.project_id}/settings/keys%3Fx%3D1"
    fields = {"email": OWNER, "password": PASSWORD}
    assert (await browser.post("/sign-in", {**fields, "next": "/users"})).location == "/users"
    for elsewhere in ("https://evil.example/", "//evil.example/", "/\\evil.example", "/\t/evil.example/", "users"):
        assert (await here.browser().post("/sign-in", {**fields, "next": elsewhere})).location == "/"


async def test_a_guesser_learns_nothing(here: Visited) -> None:
    """An unknown e-mail, a wrong password and a disabled account get one and the same answer."""
    await here.user(OWNER, role=Role.OWNER)
    gone = await here.user("gone@acme.example", role=Role.VIEWER)
    async with here.database.transaction() as tx:
        await users.disable(tx, gone, now=here.clock())
    tried = ((OWNER, "wrong"), ("eve@acme.example", PASSWORD), (gone.email, PASSWORD))
    answers = [(await here.browser().sign_in(*one), one[0]) for one in tried]
    assert {answer.status for answer, _ in answers} == {400}
    pages = {re.sub(r'data-version="\w+"', "", answer.text.replace(email, "")) for answer, email in answers}
    assert len(pages) == 1
    assert "E-mail or password is wrong." in pages.pop()


async def test_guessing_is_throttled(here: Visited) -> None:
    """Ten wrong passwords, and even the right one is refused for a quarter of an hour; others are let in meanwhile."""
    await here.user(OWNER, role=Role.OWNER)
    await here.user("ben@acme.example", role=Role.VIEWER)
    guesses = [await here.browser().sign_in(OWNER, "wrong") for _ in range(10)]
    assert {guess.status for guess in guesses} == {400}
    assert (await here.browser().sign_in(OWNER)).status == 429
    assert (await here.browser().sign_in("ben@acme.example")).status == 303
    here.clock.at += sessions.FAILURES_WITHIN
    assert (await here.browser().sign_in(OWNER)).status == 303


async def test_the_current_password_can_not_be_guessed_either(here: Visited) -> None:
    """Whoever has got hold of a session has ten guesses at the password, as at the door."""
    await here.user(OWNER, role=Role.OWNER)
    browser = here.browser()
    await browser.sign_in(OWNER)
    change = {"current": "wrong", "password": PASSWORD + "!", "again": PASSWORD + "!"}
    async with here.database.transaction() as tx:
        for _ in range(9):
            assert await sessions.may_try(tx, email=OWNER, address="192.0.2.1", now=here.clock())
    assert (await browser.post("/account/password", change)).status == 400
    change["current"] = PASSWORD
    assert (await browser.post("/account/password", change)).status == 429
    here.clock.at += sessions.FAILURES_WITHIN
    assert (await browser.post("/account/password", change)).status == 303


async def test_a_link_that_is_none_costs_no_time(here: Visited) -> None:
    """Two passwords are looked at at a time: whoever has no link does not wait in that line, or make it longer."""
    finished = 0

    async def sign_in(number: int) -> None:
        nonlocal finished
        await here.browser().sign_in(f"{number}@acme.example")
        finished += 1

    signing_in = [asyncio.create_task(sign_in(number)) for number in range(8)]
    await until(lambda: finished > 0)
    assert (await here.browser().post("/links/nonsense", CHOSEN)).status == 410
    assert finished < len(signing_in)
    await asyncio.gather(*signing_in)


async def test_a_burst_of_guesses_is_counted_whole(here: Visited) -> None:
    """Thirty at once are no more than ten one after the other."""
    await here.user(OWNER, role=Role.OWNER)

    async def may_try() -> bool:
        async with here.database.transaction() as tx:
            return await sessions.may_try(tx, email=OWNER, address="192.0.2.1", now=here.clock())

    assert sum(await asyncio.gather(*(may_try() for _ in range(30)))) == 10


async def test_one_address_may_not_try_many_accounts(here: Visited) -> None:
    """A hundred attempts from one address are enough, whoever they were for."""
    allowed = 0
    for number in range(120):
        async with here.database.transaction() as tx:
            allowed += await sessions.may_try(tx, email=f"{number}@acme.example", address="192.0.2.1", now=here.clock())
    assert allowed == 100


async def test_sign_out_ends_the_session(here: Visited) -> None:
    """The cookie is worthless afterwards, wherever it was copied to."""
    browser = await here.visitor(Role.OWNER)
    copy = here.browser()
    (cookie,) = browser.session.cookie_jar
    copy.headers["Cookie"] = f"{cookie.key}={cookie.value}"
    assert (await copy.get("/account")).status == 200
    assert (await browser.post("/sign-out")).location == "/sign-in"
    assert (await copy.get("/account")).location.startswith("/sign-in")


async def test_sign_out_everywhere(here: Visited) -> None:
    """Every session of the user ends, nobody else's."""
    first = await here.visitor(Role.OWNER)
    second, other = here.browser(), await here.visitor(Role.VIEWER)
    await second.sign_in("owner@acme.example")
    await first.post("/sign-out-everywhere")
    assert (await second.get("/account")).status == 303
    assert (await other.get("/account")).status == 200


async def test_a_new_password_ends_the_other_sessions(here: Visited) -> None:
    """By the account page, and by a link; the one that changed it goes on. The old password is wrong from then on."""
    browser, other = await here.visitor(Role.OWNER), here.browser()
    await other.sign_in("owner@acme.example")
    another = {"password": "another fine password", "again": "another fine password"}
    assert (await browser.post("/account/password", {"current": "wrong", **another})).status == 400
    changed = await browser.post("/account/password", {"current": PASSWORD, **another})
    assert changed.location == "/account?done=password"
    assert (await browser.get("/account")).status == 200
    assert (await other.get("/account")).status == 303
    assert (await here.browser().sign_in("owner@acme.example")).status == 400
    assert (await here.browser().sign_in("owner@acme.example", "another fine password")).status == 303


async def test_a_session_ends_by_itself(here: Visited) -> None:
    """After a week without use, and after a month in any case."""
    browser = await here.visitor(Role.OWNER)
    for _ in range(6):
        here.clock.at += timedelta(days=4, hours=1)
        assert (await browser.get("/account")).status == 200
    idle = here.browser()
    await idle.sign_in("owner@acme.example")
    here.clock.at += timedelta(days=6)
    assert (await browser.get("/account")).status == 303
    here.clock.at += timedelta(days=1)
    assert (await idle.get("/account")).status == 303


async def test_a_disabled_user_is_out_at_once(here: Visited) -> None:
    """Their sessions end and their links open nothing; enabled again, they sign in as before."""
    owner, viewer = await here.visitor(Role.OWNER), await here.visitor(Role.VIEWER)
    async with here.database.reading() as tx:
        user = await users.get_by_email(tx, "viewer@acme.example")
    link = await here.link(user)
    assert (await owner.post(f"/users/{user.id}/disable")).location == "/users?done=disabled"
    assert (await viewer.get("/account")).status == 303
    assert (await here.browser().get(f"/links/{link}")).status == 410
    assert (await viewer.sign_in(user.email)).status == 400
    await owner.post(f"/users/{user.id}/enable")
    assert (await viewer.sign_in(user.email)).status == 303


async def test_the_last_owner_stays(here: Visited) -> None:
    """Nobody can lock everybody out."""
    owner = await here.visitor(Role.OWNER)
    async with here.database.reading() as tx:
        user = await users.get_by_email(tx, "owner@acme.example")
    refused = await owner.post(f"/users/{user.id}/disable")
    assert refused.status == 400
    assert "only owner" in refused.text
    async with here.database.transaction() as tx:
        with pytest.raises(NotAllowed):
            await users.disable(tx, user, now=here.clock())


async def test_nothing_secret_is_stored_as_it_is(here: Visited) -> None:
    """Of passwords, sessions and links the database has hashes only."""
    user = await here.user(OWNER, role=Role.OWNER)
    browser = here.browser()
    await browser.sign_in(OWNER)
    (cookie,) = browser.session.cookie_jar
    link = await here.link(user)
    async with here.database.reading() as tx:
        stored = [
            str(value)
            for table in (account_tables.users, account_tables.sessions, account_tables.one_time_links)
            for row in await tx.execute(select(table))
            for value in row
        ]
    assert not [value for value in stored for secret in (PASSWORD, cookie.value, link) if secret in value]
    assert any(value.startswith("$argon2id$") for value in stored)


async def test_the_session_cookie_is_for_the_browser_alone(here: Visited) -> None:
    """No script reads it and no other site sends it."""
    await here.user(OWNER, role=Role.OWNER)
    cookie = (await here.browser().sign_in(OWNER)).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


async def test_over_https_the_cookie_is_secure(sqlite_url: str) -> None:
    """And bound to this very host."""
    async with visited(sqlite_url, public_url="https://attendee.example") as here:
        await here.user(OWNER, role=Role.OWNER)
        signed_in = await here.browser().sign_in(OWNER)
        cookie = signed_in.headers["Set-Cookie"]
        assert cookie.startswith("__Host-attendee=")
        assert "Secure" in cookie
        assert "Path=/" in cookie


async def test_a_time_zone_is_chosen(here: Visited) -> None:
    """Times are shown in it from then on; one that there is not is refused."""
    browser = await here.visitor(Role.OWNER)
    assert "Times are in UTC" in (await browser.get("/projects")).text
    assert (await browser.post("/account/zone", {"zone": "Asia/Kathmandu"})).status == 303
    assert "Asia/Kathmandu (UTC+05:45)" in (await browser.get("/projects")).text
    assert (await browser.post("/account/zone", {"zone": "Mars/Base"})).status == 400
