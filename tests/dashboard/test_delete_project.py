"""Deleting a project from the dashboard: for owners, with its name typed."""

from collections.abc import AsyncIterator

import pytest

from attendee.model import Role
from tests.dashboard.visiting import Visited, visited


@pytest.fixture
async def here(sqlite_url: str) -> AsyncIterator[Visited]:
    async with visited(sqlite_url) as made:
        yield made


async def test_an_owner_deletes_a_project_by_its_name(here: Visited) -> None:
    """Another word deletes nothing; afterwards the project is nowhere, and its key opens nothing."""
    owner = await here.visitor(Role.OWNER)
    address = f"/delete-project/{here.project_id}"
    assert address in (await owner.get(f"/projects/{here.project_id}/settings/members")).text
    refused = await owner.post(address, {"name": "Acm"})
    assert "nothing was deleted" in refused.text
    assert (await here.client.get("/calendars")).status == 200
    deleted = await owner.post(address, {"name": "Acme"})
    assert (deleted.status, deleted.location) == (303, "/projects?done=project-deleted")
    assert "Acme" not in (await owner.get("/projects")).text
    assert (await owner.get(f"/projects/{here.project_id}")).status == 404
    assert (await here.client.get("/calendars")).status == 401


async def test_an_admin_is_not_even_shown_the_way(here: Visited) -> None:
    """It is the installation's owners' to decide."""
    admin = await here.visitor(Role.ADMIN)
    assert "delete-project" not in (await admin.get(f"/projects/{here.project_id}/settings/members")).text
    assert (await admin.post(f"/delete-project/{here.project_id}", {"name": "Acme"})).status == 403
    assert (await here.client.get("/calendars")).status == 200
