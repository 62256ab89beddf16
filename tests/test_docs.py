"""What the pages say is so: links, commands, files, and the reference that is written from the code."""

import ast
import inspect
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from attendee.settings import Settings
from attendee_client import api
from docs import generate
from tests.commands import misuse
from tests.test_guide import LINK, blocks_of, headings

_ROOT = Path(__file__).parent.parent
_PAGES = sorted(
    _ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
)
_TARGETS = set(re.findall(r"^([a-z]+):.*## ", (_ROOT / "Makefile").read_text(), re.MULTILINE))


def _name(page: Path) -> str:
    return str(page.relative_to(_ROOT))


def definitions(path: Path) -> set[str]:
    """The names that a module gives to classes, functions and values."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


@pytest.mark.parametrize("path", generate.pages(), ids=_name)
def test_reference_is_written_from_the_code(path: Path) -> None:
    """`make reference` writes it anew. So each setting, command and route is in it, and nothing else."""
    assert path.read_text() == generate.pages()[path]


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings are there, names in backticks are defined in the file they lead to, addresses are https."""
    wrong = []
    for text, target in LINK.findall(page.read_text()):
        address, _, anchor = target.partition("#")
        if "://" in address:
            parts = urlsplit(address)
            if parts.scheme != "https" and parts.hostname != "127.0.0.1":
                wrong.append(f"{target}: no https")
            continue
        path = page.parent / address if address else page
        name = text.strip("`") if text.startswith("`") else ""
        if not path.exists():
            wrong.append(f"{target}: no such file")
        elif path.suffix == ".md" and anchor and anchor not in headings(path):
            wrong.append(f"{target}: no such heading")
        elif (
            path.suffix == ".py" and not anchor and name.isidentifier() and name not in definitions(path) | {path.stem}
        ):
            wrong.append(f"{target}: {name} is not in it")
    assert wrong == []


def _commands(page: Path) -> list[list[str]]:
    """Every command in the page's shell blocks, comments left out, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.+?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    inner = [found for block in blocks for found in re.findall(r"\$\((.+?)\)", block)]
    lines = [line for block in blocks for line in _whole_lines(block)]
    return [words for line in [*lines, *inner] if (words := shlex.split(line, comments=True))]


def _mentioned(page: Path) -> list[list[str]]:
    """Commands in the text, which may leave out what they need."""
    return [text.split() for text in re.findall(r"(?<!`)`((?:attendee|make) [^`<>|{]+)`", page.read_text())]


def _of_ours(words: list[str]) -> list[str] | None:
    """The arguments of `attendee`, wherever it stands in the command: behind `docker compose exec api` too."""
    if words[0] == "kubectl":
        words = words[words.index("--") + 1 :] if "--" in words else []
    if not words or words[0] in {"useradd", "systemctl"} or words[:2] == ["docker", "build"]:
        return None
    places = [n for n, word in enumerate(words) if re.fullmatch(r"(\S*bin/)?attendee(:[\d.]+)?", word)]
    return words[places[0] + 1 :] if places else None


def _whole_lines(block: str) -> Iterator[str]:
    """Lines as a shell takes them: what is quoted, or ends with a backslash, goes on in the next."""
    line = ""
    for part in block.replace("\\\n", " ").splitlines(keepends=True):
        line += part
        try:
            shlex.split(line, comments=True)
        except ValueError:
            continue
        yield line
        line = ""
    assert not line, f"{line!r} has no end"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_commands_are_there(page: Path) -> None:
    """Commands of ours take their arguments, targets are in the Makefile, files that are named exist."""
    wrong = []
    for words, is_whole in [(one, True) for one in _commands(page)] + [(one, False) for one in _mentioned(page)]:
        if words[0] == "make":
            wrong += [f"make {word}" for word in words[1:] if word.isalpha() and word not in _TARGETS]
        arguments = _of_ours(words)
        complaint = misuse(arguments) if arguments else None
        if complaint is not None and (is_whole or not complaint.startswith("Missing")):
            wrong.append(f"attendee {shlex.join(arguments or ())}: {complaint}")
        for word in words:
            path = word.removeprefix("./").partition("[")[0]
            if path.startswith(("deploy/", "clients/", "tests/", "examples/")) and not (_ROOT / path).exists():
                wrong.append(f"{word}: no such file")
    assert wrong == []


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_settings_that_are_given_are_read(page: Path) -> None:
    """What a page puts into the environment or into `.env` is a setting of the service's, or the example's own."""
    given = set(re.findall(r"\bATTENDEE_([A-Z_]+)=", page.read_text()))
    assert {name.lower() for name in given} <= {*Settings.model_fields, "api_key", "webhook_secret"}


def test_calls_of_the_client_are_shown_as_they_are() -> None:
    """Each block of its README is Python, imports what there is, and makes calls with arguments that they take."""
    calls = []
    for block in blocks_of(_ROOT / "clients" / "python" / "README.md", "python"):
        # One block has `async with` outside of a function.
        tree = compile(block, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom():
                    exec(compile(ast.Module([node], []), "README.md", "exec"), {})  # noqa: S102  # our own README
                case ast.Call(func=ast.Attribute(value=ast.Name(id="api"), attr=name)):
                    keywords = {keyword.arg: ... for keyword in node.keywords if keyword.arg}
                    inspect.signature(getattr(api, name)).bind(*node.args, **keywords)
                    calls.append(name)
    assert {"create_calendar", "create_bot", "changed_events"} <= set(calls)


def test_commands_are_found() -> None:
    """The check above would otherwise be content with pages that it can't read."""
    found = {" ".join(words[:2]) for page in _PAGES for words in _commands(page)}
    assert {"make demo", "attendee migrate", "docker compose", "kubectl apply"} <= found
