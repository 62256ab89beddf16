"""Google's `fields` parameter: partial responses such as `nextPageToken,items(id,start/dateTime)`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from attendee.sandbox.google_errors import GoogleRefuses

# What to keep of an object by field name; an empty tree keeps all of it.
Tree = dict[str, "Tree"]

TOKENS = re.compile(r"[\w*]+|[(),/]")


@lru_cache(maxsize=256)
def parse_fields(text: str) -> Tree:
    """The tree that the text describes. Raises GoogleRefuses for one that can't be read."""
    tokens = TOKENS.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise GoogleRefuses("badRequest", f"Invalid field selection {text}")
    tree, rest = _selection(tokens)
    if rest:
        raise GoogleRefuses("badRequest", f"Invalid field selection {text}")
    return tree


def project(value: Any, tree: Tree) -> Any:
    """The value with nothing but the fields of the tree."""
    if not tree or "*" in tree:
        return value
    if isinstance(value, list):
        return [project(item, tree) for item in value]
    if isinstance(value, dict):
        return {name: project(value[name], below) for name, below in tree.items() if name in value}
    return value


def _selection(tokens: list[str]) -> tuple[Tree, list[str]]:
    tree: Tree = {}
    while tokens and tokens[0] not in "),/(":
        name, tokens = tokens[0], tokens[1:]
        below: Tree = {}
        if tokens[:1] == ["("]:
            below, tokens = _selection(tokens[1:])
            if tokens[:1] != [")"]:
                raise GoogleRefuses("badRequest", "Invalid field selection: a parenthesis is open")
            tokens = tokens[1:]
        elif tokens[:1] == ["/"]:
            below, tokens = _path(tokens[1:])
        tree[name] = {**tree.get(name, {}), **below}
        if tokens[:1] == [","]:
            tokens = tokens[1:]
    return tree, tokens


def _path(tokens: list[str]) -> tuple[Tree, list[str]]:
    if not tokens or tokens[0] in "),/(":
        raise GoogleRefuses("badRequest", "Invalid field selection: a name is missing")
    name, rest = tokens[0], tokens[1:]
    if rest[:1] == ["/"]:
        below, rest = _path(rest[1:])
        return {name: below}, rest
    if rest[:1] == ["("]:
        below, rest = _selection(rest[1:])
        return {name: below}, rest[1:]
    return {name: {}}, rest
