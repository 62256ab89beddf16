"""Who may open which page: asked of every page and every form that there is, so that none is forgotten."""

import pytest

from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import Action, Needs, Page
from attendee.model import ProjectId, Role
from attendee.store import projects
from tests.api.serving import new_project
from tests.dashboard.visiting import Answer, Visited, Visitor

OPEN_TO_ALL = {"/sign-in", "/links/{secret}"}
OWN_ACCOUNT = {"/sign-out", "/sign-out-everywhere", "/account/password", "/account/zone"}

Route = Page | Action


def of_project(route: Route) -> bool:
    return route.path.startswith("/projects/{project_id}")


EVERY = [pytest.param(one, id=f"{one.methods[0]} {one.path}") for one in ROUTES]


def address(route: Route, project_id: ProjectId) -> str:
    path = route.path.replace("{project_id}", project_id)
    for part in ("calendar_id", "event_id", "bot_id", "delivery_id", "webhook_id", "key_id", "user_id", "secret"):
        path = path.replace(f"{{{part}}}", "nonsense")
    assert "{" not in path, "an address of a new kind: name its part here"
    return path


async def ask(visitor: Visitor, route: Route, project_id: ProjectId) -> Answer:
    path = address(route, project_id)
    return await (visitor.post(path) if isinstance(route, Action) else visitor.get(path))


@pytest.mark.parametrize("route", EVERY)
def test_every_page_says_what_it_needs(route: Route) -> None:
    """Pages of a project need a member, forms in it an admin, everything else a user but for the way in."""
    if of_project(route):
        allowed = {Needs.ADMIN} if isinstance(route, Action) else {Needs.VIEWER, Needs.ADMIN}
    elif route.path in OPEN_TO_ALL:
        allowed = {Needs.NOBODY}
    elif isinstance(route, Action) and route.path not in OWN_ACCOUNT:
        allowed = {Needs.OWNER}
    else:
        allowed = {Needs.USER, Needs.OWNER}
    assert route.needs in allowed


async def test_without_a_session_every_page_leads_to_the_sign_in(here: Visited) -> None:
    """Forms too, with nothing done."""
    browser = here.browser()
    for route in ROUTES:
        if route.path not in OPEN_TO_ALL:
            answer = await ask(browser, route, here.project_id)
            assert answer.status == 303, route
            assert answer.location.startswith("/sign-in"), route


async def test_a_member_of_another_project_sees_nothing(here: Visited) -> None:
    """For an admin of another project every page and form is as if there were no such project."""
    other, _ = await new_project(here.database, here.key_ring, name="Other")
    admin = await here.visitor(Role.ADMIN, project_id=other)
    for route in ROUTES:
        if of_project(route):
            missing = await ask(admin, route, ProjectId("proj_0000000000000000"))
            foreign = await ask(admin, route, here.project_id)
            assert (foreign.status, foreign.text) == (404, missing.text), route
    assert "Acme" not in (await admin.get("/projects")).text


async def test_a_viewer_changes_nothing(here: Visited) -> None:
    """Every form of the project is refused, and so is every page that exists to fill one in."""
    viewer = await here.visitor(Role.VIEWER)
    for route in ROUTES:
        if of_project(route) and route.needs is Needs.ADMIN:
            assert (await ask(viewer, route, here.project_id)).status == 403, route
        elif of_project(route) and "nonsense" not in address(route, here.project_id):
            answer = await ask(viewer, route, here.project_id)
            assert answer.status in {200, 303}, route
            assert f'action="{address(route, here.project_id)}"' not in answer.text, "a form that is not theirs"


async def test_only_owners_may_what_is_for_owners(here: Visited) -> None:
    """Not even an admin."""
    admin = await here.visitor(Role.ADMIN)
    for route in ROUTES:
        if route.needs is Needs.OWNER:
            assert (await ask(admin, route, here.project_id)).status == 403, route


async def test_every_form_needs_the_token_of_its_session(here: Visited) -> None:
    """Without it, or with another's, nothing is done."""
    owner, other = await here.visitor(Role.OWNER), await here.visitor(Role.ADMIN)
    for route in ROUTES:
        if isinstance(route, Action) and route.needs is not Needs.NOBODY:
            for token in ("", await other.token(), "ä"):
                answer = await owner.post(address(route, here.project_id), {"csrf": token})
                assert answer.status == 403, route
                assert "earlier session" in answer.text


async def test_every_form_refuses_other_sites(here: Visited) -> None:
    """Even with the right token, and the sign-in too."""
    owner = await here.visitor(Role.OWNER)
    for route in ROUTES:
        if isinstance(route, Action):
            path = address(route, here.project_id)
            for name, value in (
                ("Origin", "https://evil.example"),
                ("Origin", "null"),
                ("Sec-Fetch-Site", "cross-site"),
            ):
                answer = await owner.post(path, headers={name: value})
                assert answer.status == 403, route
                assert "another site" in answer.text


async def test_what_a_project_has_is_nobody_elses(here: Visited) -> None:
    """Ids of another project are as unknown under one's own project as those that never were."""
    calendar_id = await here.a_calendar()
    event_id = await here.an_event(calendar_id)
    bot = await here.client.post("/bots", {"bot_name": "Notes", "calendar_event_id": event_id})
    hook = await here.client.post("/webhooks", {"url": "https://a.example/h", "triggers": ["bot.state_change"]})
    sent = await here.client.post(f"/webhooks/{hook.json['id']}/test")
    member = await here.user("member@acme.example", role=Role.VIEWER)
    ids = {
        "calendar_id": calendar_id,
        "event_id": event_id,
        "bot_id": bot.json["id"],
        "webhook_id": hook.json["id"],
        "delivery_id": sent.json["id"],
        "user_id": member.id,
        "key_id": (await _key_of(here)),
    }
    other, _ = await new_project(here.database, here.key_ring, name="Other")
    admin = await here.visitor(Role.ADMIN, project_id=other)
    asked = 0
    for route in ROUTES:
        path = route.path.replace("{project_id}", other)
        for part, one in ids.items():
            path = path.replace(f"{{{part}}}", one)
        if of_project(route) and route.path.count("{") > 1:
            asked += 1
            answer = await (admin.post(path) if isinstance(route, Action) else admin.get(path))
            assert answer.status == 404, route
    assert asked > 0


async def test_every_answer_has_the_headers_that_guard_it(here: Visited) -> None:
    """Pages, files, refusals and what is not there alike: no script of others, no frame, no copy kept."""
    owner = await here.visitor(Role.OWNER)
    for path in ("/projects", "/static/dashboard.css", "/projects/nonsense/settings/keys", "/account/nonsense"):
        answer = await owner.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


async def test_the_api_is_as_it_was(here: Visited) -> None:
    """Beside the dashboard: its answers, and its word for an address that nobody has."""
    assert (await here.client.get("/calendars")).status == 200
    unknown = await here.client.ask("GET", "/nonsense")
    assert (unknown.status, unknown.json) == (404, {"error": "Not found"})
    assert (await here.client.ask("GET", "/healthz")).json == {"status": "ok"}


async def _key_of(here: Visited) -> str:
    async with here.database.reading() as tx:
        return (await projects.keys(tx, project_id=here.project_id))[0].id
