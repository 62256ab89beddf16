"""Projects and the keys to their API."""

from starlette.responses import Response

from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import Visit
from attendee.errors import Invalid
from attendee.store import projects


async def show_start(visit: Visit) -> Response:
    """The only project's overview, or all projects to choose from."""
    assert visit.signed_in is not None, "the page needs a user"
    if len(visit.signed_in.projects) == 1:
        return redirect(f"/projects/{visit.signed_in.projects[0].id}")
    return redirect("/projects")


async def show_projects(visit: Visit) -> Response:
    return page(visit, "projects.html")


async def create_project(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        project = await projects.create(tx, visit.given("name"), key_ring=visit.dashboard.key_ring, now=visit.now)
    return redirect(f"/projects/{project.id}", done="project")


async def show_delete(visit: Visit) -> Response:
    return page(visit, "project_delete.html", doomed=await projects.get(visit.tx, visit.part("project_id")))


async def delete_project(visit: Visit) -> Response:
    """Deletes a project whose name the owner has typed: a click on the wrong button is not enough."""
    async with visit.dashboard.database.transaction() as tx:
        project = await projects.get(tx, visit.part("project_id"))
        if visit.given("name") != project.name.strip():
            raise Invalid("name", "That is not the name of the project: nothing was deleted.")
        await projects.delete_project(tx, project, now=visit.now)
    return redirect("/projects", done="project-deleted")


async def show_keys(visit: Visit) -> Response:
    keys = await projects.keys(visit.tx, project_id=visit.project.id)
    return page(visit, "keys.html", keys=keys, made=None, secret=None)


async def create_key(visit: Visit) -> Response:
    """A new key; the answer shows it, and nothing ever does again."""
    async with visit.dashboard.database.transaction() as tx:
        made, secret = await projects.create_key(tx, visit.project.id, name=visit.given("name"), now=visit.now)
        keys = await projects.keys(tx, project_id=visit.project.id)
    return page(visit, "keys.html", keys=keys, made=made, secret=secret)


async def disable_key(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        await projects.disable_key(tx, visit.part("key_id"), project_id=visit.project.id, now=visit.now)
    return redirect(f"{visit.address}/settings/keys", done="disabled")
