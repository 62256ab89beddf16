"""Projects, the keys that open their API, and the secrets that sign their webhooks."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Row, Select, and_, bindparam, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import Invalid, NotAllowed, NotFound
from attendee.model import KeyId, ProjectId, new_id
from attendee.store import claims
from attendee.store.account_tables import memberships
from attendee.store.columns import KeyRing, token_hash
from attendee.store.tables import (
    api_keys,
    channels,
    deliveries,
    launches,
    projects,
    signing_secrets,
    upkeep,
    webhook_subscriptions,
)

_KEY_PREFIX = "att_"
_SECRET_BYTES = 32
_NAME_CHARACTERS = 200
# Enough to see whether a key is still in use, and one write an hour instead of one a request.
_USE_RECORDED_EVERY = timedelta(hours=1)
# Channels and launches that can't be ended are given up within a day; nothing waits for them any longer.
_TELLING_LASTS = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Project:
    id: ProjectId
    name: str
    created_at: datetime

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        return cls(**row._mapping)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored: never the key itself. `last_used_at` is to the hour; None means never used."""

    id: KeyId
    project_id: ProjectId
    name: str
    created_at: datetime
    last_used_at: datetime | None
    disabled_at: datetime | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        return cls(**row._mapping)

    def is_use_recorded(self, *, now: datetime) -> bool:
        """Whether `last_used_at` is recent enough to be left as it is."""
        return self.last_used_at is not None and now - self.last_used_at < _USE_RECORDED_EVERY


# Those that are not deleted.
STANDING: Select[Any] = select(projects.c.id, projects.c.name, projects.c.created_at).where(
    projects.c.deleted_at.is_(None)
)
_KEYS: Select[Any] = select(
    api_keys.c.id,
    api_keys.c.project_id,
    api_keys.c.name,
    api_keys.c.created_at,
    api_keys.c.last_used_at,
    api_keys.c.disabled_at,
)
# Built once, because every request asks it.
_ENABLED_KEY = _KEYS.where(api_keys.c.key_hash == bindparam("key_hash"), api_keys.c.disabled_at.is_(None))


async def create(tx: AsyncConnection, name: str, *, key_ring: KeyRing, now: datetime) -> Project:
    """A new project with its signing secret. Raises Invalid for a name that is blank, too long or taken."""
    _check_name(name)
    project = Project(ProjectId(new_id("proj_")), name, now)
    try:
        async with tx.begin_nested():
            await tx.execute(insert(projects).values(id=project.id, name=name, created_at=now))
    except IntegrityError:
        raise Invalid("name", f"A project named {name!r} exists already; choose another name.") from None
    await _add_secret(tx, project.id, key_ring=key_ring, now=now)
    return project


async def all_projects(tx: AsyncConnection) -> Sequence[Project]:
    """Every project, oldest first."""
    rows = await tx.execute(STANDING.order_by(projects.c.created_at, projects.c.id))
    return [Project.from_row(row) for row in rows]


async def get(tx: AsyncConnection, project_id: str) -> Project:
    """The project. Raises NotFound."""
    row = (await tx.execute(STANDING.where(projects.c.id == project_id))).one_or_none()
    if row is None:
        raise NotFound("Project")
    return Project.from_row(row)


async def get_by_name(tx: AsyncConnection, name: str) -> Project:
    """The project of that name. Raises NotFound."""
    row = (await tx.execute(STANDING.where(projects.c.name == name))).one_or_none()
    if row is None:
        raise NotFound("Project")
    return Project.from_row(row)


async def delete_project(tx: AsyncConnection, project: Project, *, now: datetime) -> None:
    """Hides the project from everybody, and lets what it holds be removed. Its keys and webhooks are gone at once."""
    # The name is free from now on.
    await tx.execute(update(projects).where(projects.c.id == project.id).values(name=project.id, deleted_at=now))
    for table in (api_keys, memberships, webhook_subscriptions):
        await tx.execute(delete(table).where(table.c.project_id == project.id))
    pending = (deliveries.c.project_id == project.id, deliveries.c.due_at.is_not(None))
    await tx.execute(update(deliveries).where(*pending).values(due_at=None, wakes=deliveries.c.wakes + 1))
    await claims.wake(tx, upkeep, "projects", now=now)


async def deleted(tx: AsyncConnection) -> Sequence[ProjectId]:
    """The projects that are deleted and not yet removed, the oldest deletion first."""
    query = select(projects.c.id).where(projects.c.deleted_at.is_not(None)).order_by(projects.c.deleted_at)
    return [ProjectId(project_id) for project_id in (await tx.execute(query)).scalars()]


async def forget(tx: AsyncConnection, project_id: ProjectId, *, now: datetime) -> int:
    """Drops a deleted project that holds nothing more, once platforms and runners were told or a day has passed."""
    over = projects.c.deleted_at <= now - _TELLING_LASTS
    told = [~exists().where(table.c.project_id == projects.c.id) for table in (channels, launches)]
    done = await tx.execute(delete(projects).where(projects.c.id == project_id, or_(over, and_(*told))))
    return done.rowcount


async def create_key(tx: AsyncConnection, project_id: ProjectId, *, name: str, now: datetime) -> tuple[ApiKey, str]:
    """A new key: as stored, and the key itself, which nobody can be shown again. Raises Invalid for its name."""
    _check_name(name)
    secret = _KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(KeyId(new_id("key_")), project_id, name, created_at=now, last_used_at=None, disabled_at=None)
    await tx.execute(
        insert(api_keys).values(
            id=key.id, project_id=project_id, name=name, key_hash=token_hash(secret), created_at=now
        )
    )
    return key, secret


async def keys(tx: AsyncConnection, *, project_id: ProjectId | None = None) -> Sequence[ApiKey]:
    """The keys of a project, or of all projects for None, disabled ones too, oldest first."""
    query = _KEYS.order_by(api_keys.c.created_at, api_keys.c.id)
    if project_id is not None:
        query = query.where(api_keys.c.project_id == project_id)
    return [ApiKey.from_row(row) for row in await tx.execute(query)]


async def disable_key(
    tx: AsyncConnection, key_id: str, *, project_id: ProjectId | None = None, now: datetime
) -> ApiKey:
    """The key, which opens nothing from now on; disabling it twice changes nothing.

    Raises NotFound, for another project's too unless `project_id` is None.
    """
    wanted = [api_keys.c.id == key_id]
    if project_id is not None:
        wanted.append(api_keys.c.project_id == project_id)
    await tx.execute(update(api_keys).where(*wanted, api_keys.c.disabled_at.is_(None)).values(disabled_at=now))
    row = (await tx.execute(_KEYS.where(*wanted))).one_or_none()
    if row is None:
        raise NotFound("Key")
    return ApiKey.from_row(row)


async def authenticate(tx: AsyncConnection, secret: str) -> ApiKey | None:
    """What the key opens; None when it is unknown or disabled."""
    row = (await tx.execute(_ENABLED_KEY, {"key_hash": token_hash(secret)})).one_or_none()
    return None if row is None else ApiKey.from_row(row)


async def record_use(tx: AsyncConnection, key_id: KeyId, *, now: datetime) -> None:
    """Notes that a key is in use, unless another request did so within the hour."""
    stale = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= now - _USE_RECORDED_EVERY)
    await tx.execute(update(api_keys).where(api_keys.c.id == key_id, stale).values(last_used_at=now))


async def live_secrets(
    tx: AsyncConnection, project_id: ProjectId, *, key_ring: KeyRing, now: datetime
) -> Sequence[str]:
    """The secrets that sign the project's webhooks, in base64, oldest first. Raises WrongKey."""
    rows = await tx.execute(
        select(signing_secrets.c.id, signing_secrets.c.secret)
        .where(
            signing_secrets.c.project_id == project_id,
            or_(signing_secrets.c.ends_at.is_(None), signing_secrets.c.ends_at > now),
        )
        # Whatever the clock says: one that ends is older than the one that took its place.
        .order_by(signing_secrets.c.ends_at.is_(None), signing_secrets.c.created_at, signing_secrets.c.id)
    )
    return [key_ring.open(row.secret, table=signing_secrets.name, column="secret", row_id=row.id) for row in rows]


async def overlap_ends_at(tx: AsyncConnection, project_id: ProjectId, *, now: datetime) -> datetime | None:
    """Until when the secret before the current one signs too; None if there is none."""
    ends_at: datetime | None = await tx.scalar(
        select(signing_secrets.c.ends_at)
        .where(signing_secrets.c.project_id == project_id, signing_secrets.c.ends_at > now)
        .limit(1)
    )
    return ends_at


async def rotate_secret(
    tx: AsyncConnection, project_id: ProjectId, *, overlap: timedelta, key_ring: KeyRing, now: datetime
) -> str:
    """A new signing secret, in base64. Those before it sign too until the overlap ends; with none they are gone.

    Raises NotAllowed while an earlier overlap lasts, unless there is to be none.
    """
    # Locked, so that two rotations at once can't both be the only one.
    await tx.execute(select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True))
    of_project = signing_secrets.c.project_id == project_id
    if overlap:
        ends_at = await overlap_ends_at(tx, project_id, now=now)
        if ends_at is not None:
            raise NotAllowed(
                f"The secret before this one still signs until {ends_at:%Y-%m-%d %H:%M} UTC. "
                "Wait until then, or rotate without an overlap."
            )
        await tx.execute(delete(signing_secrets).where(of_project, signing_secrets.c.ends_at <= now))
        await tx.execute(update(signing_secrets).where(of_project).values(ends_at=now + overlap))
    else:
        await tx.execute(delete(signing_secrets).where(of_project))
    return await _add_secret(tx, project_id, key_ring=key_ring, now=now)


async def _add_secret(tx: AsyncConnection, project_id: ProjectId, *, key_ring: KeyRing, now: datetime) -> str:
    secret_id = new_id("sec_")
    secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    sealed = key_ring.seal(secret, table=signing_secrets.name, column="secret", row_id=secret_id)
    await tx.execute(insert(signing_secrets).values(id=secret_id, project_id=project_id, secret=sealed, created_at=now))
    return secret


def _check_name(name: str) -> None:
    if not name.strip() or "\x00" in name:
        raise Invalid("name", "A name must not be blank.")
    if len(name) > _NAME_CHARACTERS:
        raise Invalid("name", f"A name has at most {_NAME_CHARACTERS} characters.")
