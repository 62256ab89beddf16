"""Whether a command that is written down somewhere is one of ours, without running it."""

from collections.abc import Sequence

import typer

from attendee.cli import app


def misuse(arguments: Sequence[str]) -> str | None:
    """What is wrong with these arguments of `attendee`; None if it would run with them."""
    command = typer.main.get_command(app)
    try:
        context = command.make_context("attendee", list(arguments))
        while isinstance(command, typer.core.TyperGroup):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            command, context = found, found.make_context(name, rest, parent=context)
    except typer.TyperException as wrong:
        return wrong.format_message()
    except typer.Exit:
        # `--help` and `--version` say what they have to say and end.
        return None
    return None
