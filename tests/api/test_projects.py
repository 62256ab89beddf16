"""Projects and their keys, as the API's callers depend on them."""

import re
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import select

from attendee.errors import Invalid, NotFound
from attendee.store import projects, tables
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from tests.api.serving import NOON

KEY_RING = KeyRing([KeyRing.generate_key()])


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


async def test_a_project_has_a_name_of_its_own_and_a_secret(database: Database) -> None:
    """The secret is sealed in the database; a name that is taken or blank is refused."""
    async with database.transaction() as tx:
        project = await projects.create(tx, "Acme", key_ring=KEY_RING, now=NOON)
        for name in ("Acme", " ", "a\x00", "x" * 201):
            with pytest.raises(Invalid):
                await projects.create(tx, name, key_ring=KEY_RING, now=NOON)
        other = await projects.create(tx, "Other", key_ring=KEY_RING, now=NOON)
    assert re.fullmatch(r"proj_[A-Za-z0-9]{16}", project.id)
    async with database.reading() as tx:
        assert await projects.get_by_name(tx, "Acme") == project
        assert {known.id for known in await projects.all_projects(tx)} == {project.id, other.id}
        [secret] = await projects.live_secrets(tx, project.id, key_ring=KEY_RING, now=NOON)
        stored = await tx.scalar(
            select(tables.signing_secrets.c.secret).where(tables.signing_secrets.c.project_id == project.id)
        )
        with pytest.raises(NotFound):
            await projects.get_by_name(tx, "Nobody")
    assert stored is not None
    assert secret.encode() not in stored


async def test_a_key_is_known_by_its_digest_only(database: Database) -> None:
    """It opens its project until it is disabled; what is stored can't be sent as a key."""
    async with database.transaction() as tx:
        project = await projects.create(tx, "Acme", key_ring=KEY_RING, now=NOON)
        key, secret = await projects.create_key(tx, project.id, name="laptop", now=NOON)
        with pytest.raises(Invalid):
            await projects.create_key(tx, project.id, name="", now=NOON)
    assert re.fullmatch(r"att_[A-Za-z0-9_-]{43}", secret)
    async with database.transaction() as tx:
        assert await projects.authenticate(tx, secret) == key
        stored = await tx.scalar(select(tables.api_keys.c.key_hash))
        for wrong in (str(stored), secret.upper(), secret + " ", ""):
            assert await projects.authenticate(tx, wrong) is None
        disabled = await projects.disable_key(tx, key.id, now=NOON)
        assert await projects.disable_key(tx, key.id, now=NOON.replace(year=2027)) == disabled
        assert await projects.authenticate(tx, secret) is None
        assert await projects.keys(tx) == await projects.keys(tx, project_id=project.id) == [disabled]
        with pytest.raises(NotFound):
            await projects.disable_key(tx, "key_none", now=NOON)
    assert disabled.disabled_at == NOON
