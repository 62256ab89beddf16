"""`python -m attendee`, and what the installed command runs."""

import sys
from collections.abc import Sequence

import typer

from attendee.cli import app
from attendee.errors import DomainError
from attendee.settings import WrongSetting
from attendee.startup import CannotStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (this process's own for None); the exit status. What goes wrong is one line on stderr."""
    try:
        return (
            app(
                (sys.argv[1:] if arguments is None else arguments) or ["--help"],
                standalone_mode=False,
                prog_name="attendee",
            )
            or 0
        )
    except WrongSetting as wrong:
        return _failed(str(wrong), status=2)
    except (CannotStart, DomainError) as refusal:
        return _failed(str(refusal), status=1)
    except typer.Abort:
        # Ctrl-C, or a question that nobody was there to answer: the line that it stands on is not at its end.
        sys.stderr.write("\n")
        return _failed("Stopped.", status=1)
    except typer.TyperException as misuse:
        return _failed(_said_of(misuse), status=misuse.exit_code)


def _said_of(misuse: typer.TyperException) -> str:
    """In one line, and where to read what would be right; a list of choices comes with each on a line of its own."""
    said = " ".join(misuse.format_message().replace("Value error, ", "").split())
    context = getattr(misuse, "ctx", None)
    if context is None:
        return said
    return f"{said.removesuffix('.')}. See `{context.command_path} --help`."


def _failed(message: str, *, status: int) -> int:
    sys.stderr.write(f"attendee: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
