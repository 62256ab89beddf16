"""`make reference`: writes the reference pages from the code. A test compares what is checked in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

from attendee.api import openapi
from attendee.cli import app
from attendee.settings import Settings
from bench import report

_HERE = Path(__file__).parent
_MADE = "<!-- Written by `make reference`. -->\n"


def pages() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    measured = orjson.loads((_HERE / "performance.json").read_bytes())
    return {
        _HERE / "performance.md": report.page(measured),
        **{_HERE / "images" / name: picture for name, picture in report.pictures(measured).items()},
        _HERE / "openapi.json": openapi.text(),
        _HERE / "reference" / "rest.md": rest(openapi.document()),
        _HERE / "reference" / "command-line.md": command_line(),
        _HERE / "reference" / "settings.md": settings(),
    }


def settings() -> str:
    lines = [
        "# Settings",
        _MADE,
        "From the environment, or from a file `.env` where the command is started; the environment wins.\n",
        *_table(("variable", "default", "meaning"), _setting_rows()),
    ]
    return "\n".join(lines) + "\n"


def _setting_rows() -> Iterator[Sequence[str]]:
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        yield f"`ATTENDEE_{name.upper()}`", "none" if default in {None, ()} else f"`{default}`", field.description or ""


def command_line() -> str:
    lines = [
        "# Command line",
        _MADE,
        "Exit status 0, or another with one line on stderr that says what is wrong: 2 for wrong arguments or settings.",
        "Commands that know `--json` print one JSON document with it, and nothing else.",
    ]
    for path, command in _commands("attendee", typer.main.get_command(app)):
        lines += ["", f"## `{path}`", "", command.help or ""]
        context = typer.Context(command)
        records = [parameter.get_help_record(context) for parameter in command.params if parameter.name != "help"]
        rows = [(f"`{record[0]}`", record[1]) for record in records if record is not None]
        if rows:
            lines += ["", *_table(("argument", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """All commands that do something, in the order of the help."""
    if not isinstance(command, typer.core.TyperGroup):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _commands(f"{path} {name}", inner)


def rest(document: dict[str, Any]) -> str:
    lines = [
        "# REST API",
        _MADE,
        "`Authorization: Token KEY` goes with requests below `/api/v1`. JSON in and out, times as ISO 8601 in UTC.",
        "Lists come in pages: `next` is the address of the following one. [openapi.json](../openapi.json) has it all.",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += ["", f"## `{method.upper()} {path}`", "", operation.get("description", "")]
            lines += _parameters(operation)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body:
                lines += ["", f"Body: {_kind(body)}."]
            lines += ["", f"Answers: {', '.join(_answers(operation))}."]
    lines += ["", "# Objects"]
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            required = schema.get("required", [])
            rows = [
                (f"`{field}`", _kind(inner), "required" if field in required else "", inner.get("description", ""))
                for field, inner in schema["properties"].items()
            ]
            lines += ["", f"## {name}", "", schema.get("description", ""), "", *_table(("field", "type", "", ""), rows)]
        elif "enum" in schema:
            lines += ["", f"## {name}", "", ", ".join(f"`{value}`" for value in schema["enum"])]
    return "\n".join(lines) + "\n"


def _parameters(operation: dict[str, Any]) -> list[str]:
    rows = [
        (f"`{one['name']}`", one["in"], _kind(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
        if one["in"] != "path"
    ]
    return ["", *_table(("parameter", "in", "type", "meaning"), rows)] if rows else []


def _answers(operation: dict[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if status == "422":
            # FastAPI names it on its own account; what is wrong with a request is 400 here.
            continue
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        yield f"{status} {_kind(schema)}" if schema and status < "300" else status


def _kind(schema: dict[str, Any]) -> str:
    """A type in one line, with links to the objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(inner) for inner in schema[several])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format", schema.get("type", "anything")))


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |" for row in rows),
    ]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
