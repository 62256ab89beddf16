"""The documentation as a site. Pages are written to be read in the repository too; here their links are led on."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx.application import Sphinx

from attendee import __version__

_DOCS = Path(__file__).parent
_ROOT = _DOCS.parent
# Pages that stand elsewhere in the repository; the file under `site/` only gives them a place.
_FROM_ROOT = {
    "site/architecture": "ARCHITECTURE.md",
    "site/changelog": "CHANGELOG.md",
    "site/client": "clients/python/README.md",
    "site/contributing": "CONTRIBUTING.md",
    "site/notetaker": "examples/notetaker/README.md",
}
_CONTENTS = {
    "Integrate": ["guide", "site/client", "site/notetaker", "troubleshooting", "meeting-links", "sandbox"],
    "Operate": ["deploy", "upgrades", "operations", "security", "runners", "performance", "profiles", "capacity"],
    "Reference": ["reference/rest", "reference/command-line", "reference/settings", "site/changelog"],
    "Background": ["site/architecture", "decisions/*", "compared", "faq", "site/contributing"],
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")

project = "attendee"
author = "the attendee authors"
version = release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
# Requests in the guide are shown without the line of the protocol that the highlighter waits for.
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_title = f"attendee {__version__}"
html_static_path = ["site/pages.css"]
html_css_files = ["pages.css"]
html_show_copyright = html_show_sphinx = html_copy_source = False
# No page asks another site for anything.
html_theme_options: dict[str, Any] = {"top_of_page_buttons": []}


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    page = _ROOT / _FROM_ROOT[docname] if docname in _FROM_ROOT else _DOCS / f"{docname}.md"
    text = page.read_text() if docname in _FROM_ROOT else source[0]
    depth = docname.count("/")
    source[0] = _LINK.sub(lambda link: _led_on(app, page, link, up="../" * depth), text)
    if docname == "index":
        sorted_in = {name for names in _CONTENTS.values() for name in names} | {"index"}
        more = sorted(name for name in app.env.found_docs - sorted_in if not name.startswith("decisions/"))
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{chr(10).join(names)}\n```\n"
            for caption, names in (_CONTENTS | ({"More": more} if more else {})).items()
        )


def _led_on(app: Sphinx, page: Path, link: re.Match[str], *, up: str) -> str:
    """The link as it has to be here: to a page, or to a page of its own that shows a file of the repository."""
    text, (address, _, anchor) = link[1], link[2].partition("#")
    if "://" in address or not address:
        return link[0]
    path = (page.parent / address).resolve()
    if path.is_dir():
        path /= "README.md"
    name = path.relative_to(_ROOT).as_posix()
    docname = next((one for one, of_root in _FROM_ROOT.items() if of_root == name), None)
    if docname is None and path.suffix == ".md" and path.is_relative_to(_DOCS):
        docname = path.relative_to(_DOCS).with_suffix("").as_posix()
    if docname is not None:
        return f"[{text}](/{docname}.md{f'#{anchor}' if anchor else ''})"
    shown = f"<code>{html.escape(text.strip('`'))}</code>" if text.startswith("`") else html.escape(text)
    if not path.is_file():
        return shown
    _shown_files(app).add(name)
    line = f"#L-{anchor.removeprefix('L').partition('-')[0]}" if anchor else ""
    return f'<a class="reference internal" href="{up}source/{name}.html{line}">{shown}</a>'


def _shown_files(app: Sphinx) -> set[str]:
    files: set[str] = app.env.__dict__.setdefault("shown_files", set())
    return files


def _file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file of the repository that a page leads to."""
    for name in sorted(_shown_files(app)):
        try:
            lexer = get_lexer_for_filename(name)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight((_ROOT / name).read_text(), lexer, HtmlFormatter(lineanchors="L", cssclass="highlight"))
        yield f"source/{name}", {"title": name, "body": f"<h1><code>{name}</code></h1>{code}"}, "page.html"


def setup(app: Sphinx) -> None:
    app.connect("source-read", _read)
    app.connect("html-collect-pages", _file_pages)
