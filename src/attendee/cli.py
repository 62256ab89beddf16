"""The command line. Settings are read here, once for each command, and handed down as plain values.

What serves is imported by the commands that serve: it takes longer to load than the other commands do to run.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import orjson
import structlog
import typer
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import __version__, clock, logs, startup
from attendee.clock import written
from attendee.doctor import Finding, Verdict, examine
from attendee.errors import Invalid, NotAllowed, NotFound
from attendee.model import Role, Trigger
from attendee.settings import Settings, find_misspelt, read_settings
from attendee.startup import CannotStart, Opened
from attendee.store import links, projects, resealing, subscriptions, users
from attendee.store.columns import KeyRing
from attendee.store.projects import ApiKey, Project
from attendee.store.resealing import Progress
from attendee.store.subscriptions import NewSubscription, Subscription
from attendee.store.users import User
from attendee.webhooks import targets

_Result = TypeVar("_Result")

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
_OfProject = Annotated[str, typer.Option("--project", metavar="NAME", help="The project's name.")]
_Email = Annotated[str, typer.Argument(metavar="EMAIL")]
_OfProjectOrAll = Annotated[
    str | None, typer.Option("--project", metavar="NAME", help="Only this project's; without it, all.")
]


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, rich_markup_mode=None)


app = _group("Keeps Google and Microsoft calendars in sync and sends meeting bots to the events in them.")
projects_app = _group("Projects: each has its own keys, calendars, bots and webhooks.")
keys_app = _group("Keys to the API.")
webhooks_app = _group("Where a project is told of what happens.")
users_app = _group("Those who sign in to the dashboard.")
encryption_app = _group("Keys that encrypt the stored secrets.")
app.add_typer(projects_app, name="projects")
app.add_typer(keys_app, name="keys")
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(users_app, name="users")
app.add_typer(encryption_app, name="encryption")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # Typer calls it with the value alone
    if wanted:
        typer.echo(f"attendee {__version__}")
        raise typer.Exit


@app.callback()
def attendee(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps Google and Microsoft calendars in sync and sends meeting bots to the events in them."""


@app.command()
def serve(
    *,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Whether to do the work that is due, too.")
    ] = True,
) -> None:
    """Serve the API, and do the work that is due, until Ctrl-C."""
    from attendee import serving  # noqa: PLC0415  # as said above

    settings = _settings()
    _run(serving.serve(settings, with_worker=worker, tell=typer.echo))


@app.command()
def worker() -> None:
    """Do the work that is due, beside other processes on one PostgreSQL database, until Ctrl-C."""
    from attendee import serving  # noqa: PLC0415  # as said above

    _run(serving.work(_settings(), tell=typer.echo))


@app.command()
def sandbox() -> None:
    """Run a small Google and a small Microsoft on this machine, each with a full calendar, until Ctrl-C."""
    from attendee.demo.sandbox import serve_sandbox  # noqa: PLC0415  # as said above

    _run(serve_sandbox(_settings().sandbox_port, tell=typer.echo))


@app.command()
def demo(*, once: Annotated[bool, typer.Option("--once", help="End with status 0 after the story.")] = False) -> None:
    """Run service, sandbox and an example application together, and show what the service does for its users."""
    from attendee.demo.story import tell_story  # noqa: PLC0415  # as said above

    raise typer.Exit(_run(tell_story(once=once)))


@app.command()
def migrate(
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if there is something to do.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Bring the database's schema up to this version."""
    settings = _settings()
    _run(startup.check_schema(settings) if check else startup.bring_schema_up(settings))
    _show({"schema": "current"}, "The schema is up to date.", as_json=as_json)


@app.command()
def doctor(*, as_json: _AsJson = False) -> None:
    """Say what is wrong with this installation, and what to do about it. Fails if something is."""
    settings = _settings()

    async def examined() -> list[Finding]:
        findings = []
        async for finding in examine(settings, clock=clock.now):
            findings.append(finding)
            if not as_json:
                _print_finding(finding)
        return findings

    findings = _run(examined())
    bad = [finding for finding in findings if finding.verdict is Verdict.BAD]
    if as_json:
        typer.echo(_json({"findings": [asdict(finding) for finding in findings]}))
    if bad:
        raise typer.Exit(1)


def _print_finding(finding: Finding) -> None:
    mark = {Verdict.GOOD: "ok  ", Verdict.NOTE: "note", Verdict.BAD: "BAD "}[finding.verdict]
    typer.echo(f"{mark}  {finding.what}: {finding.told}")
    if finding.cure is not None:
        typer.echo(f"      -> {finding.cure}")


@projects_app.command("create")
def create_project(name: str, *, as_json: _AsJson = False) -> None:
    """Make a project."""

    async def work(at_hand: Opened) -> Project:
        async with at_hand.database.transaction() as tx:
            return await projects.create(tx, name, key_ring=at_hand.key_ring, now=clock.now())

    project = _run_short(work)
    hint = f"For a key to its API: attendee keys create --project {shlex.quote(name)}"
    _show({"id": project.id, "name": project.name}, project.id, hint, as_json=as_json)


@projects_app.command("list")
def list_projects(*, as_json: _AsJson = False) -> None:
    """List all projects, oldest first."""

    async def work(at_hand: Opened) -> Sequence[Project]:
        async with at_hand.database.reading() as tx:
            return await projects.all_projects(tx)

    rows = [{"id": one.id, "name": one.name, "created_at": one.created_at} for one in _run_short(work)]
    _show_rows(rows, none="There is no project yet.", as_json=as_json)


@projects_app.command("delete")
def delete_project(
    name: str,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask whether that is meant.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Delete a project with everything that it holds. Nothing of it can be brought back."""
    if not yes:
        question = f"Everything that {name!r} holds will be gone. Type its name to delete it (or give --yes)"
        typed = typer.prompt(question, err=True)
        if typed != name:
            raise CannotStart("That is not its name: nothing was deleted.")

    async def work(at_hand: Opened) -> Project:
        async with at_hand.database.transaction() as tx:
            doomed = await _project(tx, name)
            await projects.delete_project(tx, doomed, now=clock.now())
            return doomed

    project = _run_short(work)
    text = f"{project.id} is deleted. What it held is removed by `attendee serve` or `attendee worker`, within minutes."
    _show({"id": project.id, "deleted": True}, text, as_json=as_json)


@keys_app.command("create")
def create_key(
    *,
    project: _OfProject,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the key is for.")] = "default",
    as_json: _AsJson = False,
) -> None:
    """Make a key to a project's API. It is printed now and never again."""

    async def work(at_hand: Opened) -> tuple[ApiKey, str]:
        async with at_hand.database.transaction() as tx:
            owner = await _project(tx, project)
            return await projects.create_key(tx, owner.id, name=name, now=clock.now())

    key, secret = _run_short(work)
    hint = f"Keep it: it is not shown again. Its id is {key.id}."
    _show({"id": key.id, "key": secret, "project_id": key.project_id}, secret, hint, as_json=as_json)


@keys_app.command("list")
def list_keys(*, project: _OfProjectOrAll = None, as_json: _AsJson = False) -> None:
    """List keys, disabled ones too, oldest first."""

    async def work(at_hand: Opened) -> Sequence[ApiKey]:
        async with at_hand.database.reading() as tx:
            owner = None if project is None else await _project(tx, project)
            return await projects.keys(tx, project_id=None if owner is None else owner.id)

    _show_rows([_key_row(one) for one in _run_short(work)], none="There is no key yet.", as_json=as_json)


@keys_app.command("disable")
def disable_key(key_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: _AsJson = False) -> None:
    """Disable a key: it opens nothing from now on."""

    async def work(at_hand: Opened) -> ApiKey:
        async with at_hand.database.transaction() as tx:
            return await projects.disable_key(tx, key_id, now=clock.now())

    key = _run_short(work)
    _show(_key_row(key), f"{key.id} is disabled.", as_json=as_json)


@webhooks_app.command("create")
def create_webhook(
    *,
    project: _OfProject,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where to post.")],
    triggers: Annotated[list[Trigger], typer.Option("--trigger", help="What to tell of; may be repeated.")],
    as_json: _AsJson = False,
) -> None:
    """Tell a URL of what happens in a project. Prints the secret that signs it."""
    settings = _settings()
    refusal = targets.refusal(url, allow_insecure=settings.allow_insecure_webhooks)
    if refusal is not None:
        cure = (
            " For local work set ATTENDEE_ALLOW_INSECURE_WEBHOOKS=true, for the service too."
            if targets.refusal(url, allow_insecure=True) is None
            else ""
        )
        raise Invalid("url", f"--url is {url!r}: {refusal[:1].lower()}{refusal[1:]}{cure}")

    async def work(at_hand: Opened) -> tuple[Subscription, str]:
        new = NewSubscription(url, tuple(dict.fromkeys(triggers)))
        async with at_hand.database.transaction() as tx:
            owner = await _project(tx, project)
            subscription = await subscriptions.create(
                tx, new, project_id=owner.id, most=settings.webhooks_per_project, now=clock.now()
            )
            # The oldest: while secrets rotate it is the one behind X-Webhook-Signature.
            secret, *_ = await projects.live_secrets(tx, owner.id, key_ring=at_hand.key_ring, now=clock.now())
            return subscription, secret

    subscription, secret = _run_short(work)
    text = f"{subscription.id}\nIts bodies are signed with {secret}"
    document = {"id": subscription.id, "url": url, "triggers": subscription.triggers, "secret": secret}
    _show(document, text, as_json=as_json)


@webhooks_app.command("list")
def list_webhooks(*, project: _OfProjectOrAll = None, as_json: _AsJson = False) -> None:
    """List the webhooks of projects, oldest first."""

    async def work(at_hand: Opened) -> Sequence[Subscription]:
        async with at_hand.database.reading() as tx:
            owners = await projects.all_projects(tx) if project is None else [await _project(tx, project)]
            return await _subscriptions(tx, owners)

    rows = [
        {
            "id": one.id,
            "project_id": one.project_id,
            "url": one.url,
            "triggers": one.triggers,
            "is_active": one.is_active,
            "pause_reason": one.pause_reason,
            "created_at": one.created_at,
        }
        for one in _run_short(work)
    ]
    _show_rows(rows, none="There is no webhook yet.", as_json=as_json)


@webhooks_app.command("delete")
def delete_webhook(webhook_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: _AsJson = False) -> None:
    """Delete a webhook; what was still to be delivered to it is not."""

    async def work(at_hand: Opened) -> None:
        async with at_hand.database.transaction() as tx:
            for one in await _subscriptions(tx, await projects.all_projects(tx)):
                if one.id == webhook_id:
                    return await subscriptions.remove(tx, one, now=clock.now())
        raise NotFound("Webhook")

    _run_short(work)
    _show({"id": webhook_id, "deleted": True}, f"{webhook_id} is deleted.", as_json=as_json)


@webhooks_app.command("rotate-secret")
def rotate_secret(
    *,
    project: _OfProject,
    overlap_hours: Annotated[
        int,
        typer.Option(
            "--overlap-hours", min=0, max=720, help="How long the old secret signs too; 0 if it must not, from now on."
        ),
    ] = 24,
    as_json: _AsJson = False,
) -> None:
    """Give a project another signing secret. Prints it."""

    async def work(at_hand: Opened) -> str:
        async with at_hand.database.transaction() as tx:
            owner = await _project(tx, project)
            overlap = timedelta(hours=overlap_hours)
            return await projects.rotate_secret(
                tx, owner.id, overlap=overlap, key_ring=at_hand.key_ring, now=clock.now()
            )

    secret = _run_short(work)
    _show({"secret": secret}, secret, as_json=as_json)


@users_app.command("create")
def create_user(
    *,
    email: Annotated[str, typer.Option("--email", metavar="EMAIL", help="What they sign in with.")],
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Only for this project; without it, an owner.")
    ] = None,
    role: Annotated[Literal["admin", "viewer"], typer.Option("--role", help="Their role in the project.")] = "viewer",
    as_json: _AsJson = False,
) -> None:
    """Make a user. Prints the one-time link with which they choose a password."""

    async def work(at_hand: Opened) -> tuple[User, str]:
        async with at_hand.database.transaction() as tx:
            user = await users.create(tx, email, is_owner=project is None, now=clock.now())
            if project is not None:
                member_of = await _project(tx, project)
                await users.put_member(tx, user, project_id=member_of.id, role=Role(role), now=clock.now())
            return user, await links.for_password(tx, user.id, now=clock.now())

    _show_link(*_run_short(work), as_json=as_json)


@users_app.command("list")
def list_users(*, as_json: _AsJson = False) -> None:
    """List all users."""

    async def work(at_hand: Opened) -> Sequence[User]:
        async with at_hand.database.reading() as tx:
            return await users.all_users(tx)

    _show_rows([_user_row(one) for one in _run_short(work)], none="There is no user yet.", as_json=as_json)


@users_app.command("disable")
def disable_user(email: _Email, *, as_json: _AsJson = False) -> None:
    """Sign a user out everywhere, and let them in no more."""

    async def work(at_hand: Opened) -> User:
        async with at_hand.database.transaction() as tx:
            user = await users.get_by_email(tx, email)
            await users.disable(tx, user, now=clock.now())
            return await users.get(tx, user.id)

    user = _run_short(work)
    _show(_user_row(user), f"{user.email} is disabled.", as_json=as_json)


@users_app.command("enable")
def enable_user(email: _Email, *, as_json: _AsJson = False) -> None:
    """Let a disabled user in again."""

    async def work(at_hand: Opened) -> User:
        async with at_hand.database.transaction() as tx:
            user = await users.get_by_email(tx, email)
            await users.enable(tx, user)
            return await users.get(tx, user.id)

    user = _run_short(work)
    _show(_user_row(user), f"{user.email} is enabled.", as_json=as_json)


@users_app.command("reset-password")
def reset_password(email: _Email, *, as_json: _AsJson = False) -> None:
    """Print a one-time link with which a user chooses another password."""

    async def work(at_hand: Opened) -> tuple[User, str]:
        async with at_hand.database.transaction() as tx:
            user = await users.get_by_email(tx, email)
            if user.disabled_at is not None:
                raise NotAllowed(f"{user.email} is disabled; `attendee users enable` comes first.")
            return user, await links.for_password(tx, user.id, now=clock.now())

    _show_link(*_run_short(work), as_json=as_json)


@encryption_app.command("generate")
def generate_key(*, as_json: _AsJson = False) -> None:
    """Print a new key for ATTENDEE_ENCRYPTION_KEYS. It works whatever the settings are."""
    key = KeyRing.generate_key()
    _show({"key": key}, key, as_json=as_json)


@encryption_app.command("rotate")
def rotate_keys(*, as_json: _AsJson = False) -> None:
    """Encrypt every stored secret with the first of ATTENDEE_ENCRYPTION_KEYS, while the service runs.

    Before: put the new key in front of the old ones, and restart every process, so that all of them know it. If it is
    interrupted, run it again. It says when the old keys may go.
    """

    async def work(at_hand: Opened) -> Progress:
        progress = Progress(0, 0, 0)
        async for progress in resealing.reseal_all(at_hand.database, at_hand.key_ring):
            if not as_json and progress.left:
                typer.echo(f"{progress.resealed:,} secrets done, {progress.left:,} left ...")
        return progress

    done = _run_short(work)
    if done.unopened:
        raise CannotStart(
            f"{done.unopened:,} stored secrets open with none of the keys and were left as they are: put the key that "
            "they were encrypted with into ATTENDEE_ENCRYPTION_KEYS and run this again. No key may go yet."
        )
    text = (
        f"{done.resealed:,} secrets were encrypted anew, and every stored secret is now encrypted with the first key. "
        "The other keys may go, if every process was started with the first key in its place; if one was not, restart "
        "it, then run this once more. Keep them as long as you keep backups that are older than this."
    )
    _show({"resealed": done.resealed, "unopened": done.unopened}, text, as_json=as_json)


def _settings() -> Settings:
    settings = read_settings()
    logs.configure(format=settings.log_format, level=settings.log_level)
    for name, meant in find_misspelt():
        structlog.get_logger(__name__).warning("unknown_setting", name=name, meant=meant)
    return settings


def _run_short(work: Callable[[Opened], Awaitable[_Result]]) -> _Result:
    settings = _settings()

    async def run() -> _Result:
        async with startup.opened(settings) as at_hand:
            return await work(at_hand)

    return _run(run())


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _project(tx: AsyncConnection, name: str) -> Project:
    try:
        return await projects.get_by_name(tx, name)
    except NotFound:
        raise CannotStart(
            f"There is no project named {name!r}; `attendee projects list` shows those there are."
        ) from None


async def _subscriptions(tx: AsyncConnection, owners: Sequence[Project]) -> Sequence[Subscription]:
    rows = [row for owner in owners for row in await tx.execute(subscriptions.of_project(owner.id))]
    return sorted((Subscription.from_row(row) for row in rows), key=lambda one: (one.created_at, one.id))


def _show_link(user: User, secret: str, *, as_json: bool) -> None:
    settings = read_settings()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    link = f"{settings.public_url or f'http://{host}:{settings.port}'}/links/{secret}"
    hint = f"For {user.email}, to choose a password. It works once, for {links.LASTS.days} days."
    _show({"id": user.id, "email": user.email, "link": link}, link, hint, as_json=as_json)


def _user_row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "is_owner": user.is_owner,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


def _key_row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "project_id": key.project_id,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "disabled_at": key.disabled_at,
    }


def _show(document: dict[str, Any], text: str, hint: str | None = None, *, as_json: bool) -> None:
    typer.echo(_json(document) if as_json else text)
    if hint is not None and not as_json:
        # Not on stdout, so that `KEY=$(attendee keys create ...)` has the key alone.
        typer.echo(hint, err=True)


def _show_rows(rows: Sequence[dict[str, Any]], *, none: str, as_json: bool) -> None:
    if as_json:
        typer.echo(_json({"results": rows}))
    elif not rows:
        typer.echo(none)
    else:
        table = Table(*(name.replace("_", " ") for name in rows[0]), box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console = Console(soft_wrap=True, markup=False, highlight=False)
        # A narrow terminal breaks the lines; it must not cut an id.
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document, default=written, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()
