"""Who may use the dashboard: all users, for owners, and the members of a project, for its admins."""

from starlette.responses import Response

from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import Visit
from attendee.errors import Invalid, NotAllowed, NotFound
from attendee.model import Role
from attendee.store import links, users


async def show_users(visit: Visit) -> Response:
    return page(visit, "users.html", users=await users.all_users(visit.tx), link=None)


async def invite_owner(visit: Visit) -> Response:
    """Makes an owner; the answer has the link for them, which is shown once."""
    async with visit.dashboard.database.transaction() as tx:
        invited = await users.create(tx, visit.given("email"), is_owner=True, now=visit.now)
        secret = await links.for_password(tx, invited.id, now=visit.now)
        everybody = await users.all_users(tx)
    return page(visit, "users.html", users=everybody, link=_address(visit, secret), invited=invited)


async def make_link(visit: Visit) -> Response:
    """A new link for a user who has lost theirs, or their password."""
    async with visit.dashboard.database.transaction() as tx:
        invited = await users.get(tx, visit.part("user_id"))
        if invited.disabled_at is not None:
            raise NotAllowed(f"{invited.email} is disabled; enable them first.")
        secret = await links.for_password(tx, invited.id, now=visit.now)
        everybody = await users.all_users(tx)
    return page(visit, "users.html", users=everybody, link=_address(visit, secret), invited=invited)


async def disable_user(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        await users.disable(tx, await users.get(tx, visit.part("user_id")), now=visit.now)
    return redirect("/users", done="disabled")


async def enable_user(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        await users.enable(tx, await users.get(tx, visit.part("user_id")))
    return redirect("/users", done="enabled")


async def show_members(visit: Visit) -> Response:
    members = await users.members_of(visit.tx, visit.project.id)
    return page(visit, "members.html", members=members, link=None)


async def put_member(visit: Visit) -> Response:
    """Gives somebody access to the project. Who is new gets a link, which the answer shows once."""
    role = _role(visit.given("role"))
    async with visit.dashboard.database.transaction() as tx:
        invited = await users.find_by_email(tx, users.read_email(visit.given("email")))
        secret = None
        if invited is None:
            invited = await users.create(tx, visit.given("email"), is_owner=False, now=visit.now)
            secret = await links.for_password(tx, invited.id, now=visit.now)
        await users.put_member(tx, invited, project_id=visit.project.id, role=role, now=visit.now)
        members = await users.members_of(tx, visit.project.id)
    if secret is None:
        return redirect(f"{visit.address}/settings/members", done="member")
    return page(visit, "members.html", members=members, link=_address(visit, secret), invited=invited)


async def remove_member(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        members = await users.members_of(tx, visit.project.id)
        if visit.part("user_id") not in {one.user.id for one in members}:
            raise NotFound("Member")
        await users.remove_member(tx, visit.part("user_id"), project_id=visit.project.id)
    return redirect(f"{visit.address}/settings/members", done="removed")


def _role(text: str) -> Role:
    if text not in {Role.ADMIN, Role.VIEWER}:
        raise Invalid("role", "A member is an admin or a viewer.")
    return Role(text)


def _address(visit: Visit, secret: str) -> str:
    base = visit.dashboard.public_url or f"{visit.request.url.scheme}://{visit.request.url.netloc}"
    return f"{base}/links/{secret}"
