"""Where the links of a text are, and what stands around them: another link whose text they are, quoted history.

Nothing here reads more than once over a text that anybody may have sent: what is searched for begins with a character
that must be there, what is read from there is bounded. Python's HTML parser is not used, because unclosed markup costs
it quadratic time. Links end at quotes and angle brackets, so scanning the markup finds each `href` by place.
"""

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from string import ascii_letters, digits

MAX_LINK_LENGTH = 8_192
MAX_LINKS_TRIED = 500

# Entities with their semicolon only: "&copy=1" in a link is a parameter.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_HIDDEN_START = re.compile(r"<(!--|style\b|script\b)", re.IGNORECASE)
_HIDDEN_ENDS = {
    "!--": re.compile("-->"),
    "style": re.compile("</style", re.IGNORECASE),
    "script": re.compile("</script", re.IGNORECASE),
}

# Mail as it is sent, by someone who did not decode it: "=3D" for "=", and "=" before a line break that is none.
_SOFT_BREAK = re.compile(r"=\r?\n(?=\S)")
_QUOTED_PRINTABLE = re.compile(r"=(3D|20|C2=A0|E2=80=[89A-F][0-9A-F])")

# A link begins at its scheme, plain or percent-encoded, or at a bare host at the start of a word.
_SCHEMES = ("https", "http", "zoommtg", "zoomus")
_TEAMS = "msteams"
_TEAMS_PAGE = re.compile(r":/{1,2}(?:l|meet)/|://teams\.", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9.-]{1,253}", re.IGNORECASE | re.ASCII)
_ENCODED_SEPARATOR = re.compile(
    r"%(?:25){0,4}3a(?:/|%(?:25){0,4}2f){2}(?=([a-z0-9.-]{1,253}))", re.IGNORECASE | re.ASCII
)
_HOST_CHARACTERS = ascii_letters + digits + ".-"
_MAX_HOST_LENGTH = 253
_BEFORE_BARE_HOST = frozenset(" \t\r\n\f\v\u00a0\u200b\u3000<>([\"'*,:;|\uff1a\uff08\u300c\u3001\u3002\uff0c\uff1b")
_IN_HREF = frozenset({'"//', "'//", "=//"})

# What a link in running text consists of. Letters beyond ASCII end it: Japanese text follows links without a space. A
# Teams link's context may be JSON that nobody has encoded.
_LINK_IN_TEXT = re.compile(
    rf"[A-Za-z0-9%&=?#/:;@.!$*+~_-]{{1,{MAX_LINK_LENGTH + 1}}}(?:(?<=context=)\{{[^{{}}<>\s]{{1,500}}\}})?"
)
_LINE_BREAK = re.compile(r"[ \t]*\r?\n[ \t]*")

_ANCHOR = re.compile(r"<(?:a\s([^<>]*)>|/a\b)", re.IGNORECASE)
_HREF = re.compile(r"\bhref\s{0,9}=\s{0,9}(?:\"([^\"]*)|'([^']*)|([^\s\"'>]+))", re.IGNORECASE)
_MARKDOWN_TARGET = re.compile(rf"\]\(<?(https?://[^\s()<>]{{1,{MAX_LINK_LENGTH}}})", re.IGNORECASE)

# What mail programs put above the message that is answered: marks in the markup, ...
_HISTORY_MARKS = (
    *('class="gmail_quote', 'class="yahoo_quoted', 'class="moz-cite-prefix', 'class="protonmail_quote'),
    *('id="divRplyFwdMsg', 'id="x_divRplyFwdMsg', 'id="appendonsend', 'id="x_appendonsend'),
    *("border-top:solid #E1E1E1", "border-top:solid #B5C4DF", 'id="mail-editor-reference-message'),
)
_HISTORY_LINE = re.compile(
    r"-- ?(?:original message|original appointment|forwarded message|ursprüngliche nachricht|ursprünglicher termin"
    r"|weitergeleitete nachricht|message d'origine|message transféré|mensaje original|messaggio originale"
    r"|mensagem original|oorspronkelijk bericht|原始邮件|元のメッセージ) ?--",
    re.IGNORECASE,
)
# ... a block of headers, or a sentence such as "On Monday Ana wrote:". All end with a colon, which is rarer than words.
_COLON = re.compile(r":(?=[ \t\r\n<*]|\Z)")
_AFTER_NAME = r"(?: ?</?(?:b|strong|span)>|\*){0,3} ?"
_LINE_OF = r"(?:\A|\n|>)[ \t>*]*"
_SENDER = re.compile(
    rf"{_LINE_OF}(?:from|von|de|da|van|från|fra|od|发件人|差出人|寄件者){_AFTER_NAME}\Z", re.IGNORECASE
)
_SENT = re.compile(
    rf"{_LINE_OF}(?:sent|date|gesendet|datum|envoyé|enviado(?: el)?|fecha|inviato|data|verzonden|skickat|sendt|wysłano"
    rf"|发送时间|送信日時|寄件日期){_AFTER_NAME}:",
    re.IGNORECASE,
)
_WROTE = re.compile(
    r"\b(?:wrote|begin forwarded message|a écrit|escribió|ha scritto|escreveu|napisał\(?a?\)?"
    r"|(?:schrieb|schreef|skrev)[^\n:]{0,80}) ?\Z",
    re.IGNORECASE,
)
_ENDS_LINE = re.compile(r":[ \t]*(?:\r?\n|<|\Z)")
_HEADERS_REACH = 400
_NAME_REACH = 100
# More of them have texts that are no mail, and looking around each is dear.
_MAX_COLONS = 10_000
_MAX_SENDERS = 100

_BLOCKQUOTE = re.compile(r"<(/?)blockquote\b", re.IGNORECASE)
_QUOTED_LINE = re.compile(r"(?:\A|\n|<br ?/?>)[ \t]*>[^\n<]*\Z", re.IGNORECASE)
_LINE_START_REACH = 300


@dataclass(frozen=True, slots=True)
class FoundLink:
    """What looks like a link to a known host: from `start` on in the text."""

    text: str
    start: int


class LinkText:
    """One text of an event: plain text, HTML or Markdown, with its links and what stands around them."""

    def __init__(self, text: str) -> None:
        self._text = _decoded(_without_hidden(text))
        self._anchors: list[tuple[int, int, str]] | None = None
        self._quotes: list[tuple[int, int]] | None = None

    def links(self, is_known: Callable[[str], bool]) -> Iterator[FoundLink]:
        """By place, the first MAX_LINKS_TRIED of them. `is_known` is asked for each host."""
        text = self._text
        for start in _starts(text, is_known)[:MAX_LINKS_TRIED]:
            before = text[start - 1] if start else ""
            link = _within_marks(text, start, before)
            if link is None:
                run = _LINK_IN_TEXT.match(text, start)
                link = run[0] if run else ""
            if link and len(link) <= MAX_LINK_LENGTH:
                # In Markdown's _emphasis_ the closing mark is no part of the link.
                yield FoundLink(link.rstrip("_") if before == "_" else link, start)

    def target_of(self, found: FoundLink) -> str | None:
        """Where a click leads if the link is but the text of another one; None if it is no such text."""
        if self._anchors is None:
            self._anchors = _anchors(self._text)
        place = bisect_right(self._anchors, found.start, key=lambda anchor: anchor[0]) - 1
        if place >= 0 and found.start < self._anchors[place][1]:
            return self._anchors[place][2]
        after = found.start + len(found.text)
        target = _MARKDOWN_TARGET.match(self._text, after)
        return target[1] if target else None

    def is_quoted(self, found: FoundLink) -> bool:
        """Whether it is in the history of a mail rather than in what was written for this event."""
        if self._quotes is None:
            self._quotes = _quotes(self._text)
        if any(start <= found.start < end for start, end in self._quotes):
            return True
        before = self._text[max(found.start - _LINE_START_REACH, 0) : found.start]
        return ">" in before and _QUOTED_LINE.search(before) is not None


def may_hold_link(text: str) -> bool:
    """Whether the text has any of the characters without which no link is written: most titles and places have none."""
    return "/" in text or "%" in text or "&" in text


def unescaped(text: str) -> str:
    """The text without HTML entities."""
    return text if "&" not in text else _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _decoded(text: str) -> str:
    text = unescaped(text)
    if "\\" in text:
        text = text.replace("\\/", "/")
    # The first "=" of most texts is in their only link, near the end: what comes before needs no slower search.
    equals = text.find("=")
    coded = text.count("=3D", equals) if equals >= 0 else 0
    if coded > 1 or (coded and _SOFT_BREAK.search(text)):
        text = _SOFT_BREAK.sub("", text)
        text = _QUOTED_PRINTABLE.sub(lambda code: "=" if code[1] == "3D" else " ", text)
    return text


def _without_hidden(text: str) -> str:
    """The text without HTML comments, styles and scripts, which may hold stale links. What never ends is left in."""
    if "<" not in text:
        return text
    visible: list[str] = []
    endless: set[str] = set()
    position = 0
    for start in _HIDDEN_START.finditer(text):
        kind = start[1].lower()
        if start.start() < position or kind in endless:
            continue
        end = _HIDDEN_ENDS[kind].search(text, start.end())
        if end is None:
            endless.add(kind)
            continue
        visible.append(text[position : start.start()])
        position = end.end()
    return " ".join([*visible, text[position:]]) if visible else text


class _Hosts(dict[str, bool]):
    """Whether a host is known, as it is written: each is asked for once in a text."""

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        super().__init__()
        self._is_known = is_known

    def __missing__(self, host: str) -> bool:
        self[host] = is_known = self._is_known(host.lower().removesuffix("."))
        return is_known


def _starts(text: str, is_known: Callable[[str], bool]) -> list[int]:
    hosts = _Hosts(is_known)
    starts = _starts_at_slashes(text, hosts)
    if "%" in text:
        for separator in _ENCODED_SEPARATOR.finditer(text):
            scheme = _scheme_before(text, separator.start())
            if scheme and hosts[separator[1]]:
                starts.add(separator.start() - len(scheme))
    return sorted(starts)


def _starts_at_slashes(text: str, hosts: _Hosts) -> set[int]:
    """Where links begin whose slashes are not encoded. Looking for one character is the fastest way through a text."""
    starts = set()
    slash = text.find("/")
    while slash >= 0:
        before = text[slash - 1] if slash else ""
        if before == ":":
            start = _start_of_scheme(text, slash - 1, hosts)
        else:
            start = _start_of_bare_host(text, slash, hosts) if before.isalpha() else None
        if start is not None:
            starts.add(start)
        slash = text.find("/", slash + 1)
    return starts


def _start_of_scheme(text: str, colon: int, hosts: _Hosts) -> int | None:
    host = _HOST.match(text, colon + 3) if text.startswith("/", colon + 2) else None
    if host and hosts[host[0]] and (scheme := _scheme_before(text, colon)):
        return colon - len(scheme)
    if text[max(colon - len(_TEAMS), 0) : colon].lower() == _TEAMS and _TEAMS_PAGE.match(text, colon):
        return colon - len(_TEAMS)
    return None


def _scheme_before(text: str, position: int) -> str | None:
    before = text[max(position - 7, 0) : position].lower()
    return next((scheme for scheme in _SCHEMES if before.endswith(scheme)), None)


def _start_of_bare_host(text: str, end: int, hosts: _Hosts) -> int | None:
    window = text[max(end - _MAX_HOST_LENGTH, 0) : end]
    host = window[len(window.rstrip(_HOST_CHARACTERS)) :]
    start = end - len(host)
    before = text[start - 1] if start else " "
    in_href = before == "/" and text[max(start - 3, 0) : start] in _IN_HREF
    return start if (before in _BEFORE_BARE_HOST or in_href) and host and hosts[host] else None


def _within_marks(text: str, start: int, before: str) -> str | None:
    """The link up to the mark that ends what began just before it, where it holds more than a link in text may."""
    if before in {'"', "'"}:
        end = text.find(before, start, start + MAX_LINK_LENGTH + 1)
        link = text[start:end]
        is_whole = end > 0 and link and not link.endswith("{") and not re.search(r"[\s<>\"]", link)
        return link if is_whole else None
    if before == "<":
        # As RFC 3986 has it (appendix C), a line break inside of angle brackets is no part of the link.
        end = text.find(">", start, start + MAX_LINK_LENGTH + 1)
        link = text[start:end] if end > 0 else ""
        if "\n" in link and not re.search(r"[ \t<\"]", joined := _LINE_BREAK.sub("", link)):
            return joined
    return None


def _anchors(text: str) -> list[tuple[int, int, str]]:
    """Where the text of each HTML link begins and ends, and where the link leads: to another page, that is."""
    if "<" not in text:
        return []
    anchors: list[tuple[int, int, str]] = []
    opened: tuple[int, str] | None = None
    for tag in _ANCHOR.finditer(text):
        if opened is not None:
            anchors.append((opened[0], tag.start(), opened[1]))
            opened = None
        href = _HREF.search(tag[1]) if tag[1] else None
        target = next((part for part in href.groups() if part), "").strip() if href else ""
        if target.lower().startswith(("https:", "http:", "//")):
            opened = (tag.end(), f"https:{target}" if target.startswith("//") else target)
    return anchors


def _quotes(text: str) -> list[tuple[int, int]]:
    """Where quoted history is; what has a mark above it goes on to the end."""
    line = _HISTORY_LINE.search(text)
    places = [line.start() if line else -1, _history_after_colon(text)]
    if "<" in text:
        places += [text.find(mark) for mark in _HISTORY_MARKS]
    begun = [place for place in places if place >= 0]
    return [*_blockquotes(text), *([(min(begun), len(text))] if begun else [])]


def _blockquotes(text: str) -> list[tuple[int, int]]:
    if "<" not in text:
        return []
    quotes: list[tuple[int, int]] = []
    depth, began = 0, 0
    for tag in _BLOCKQUOTE.finditer(text):
        if not tag[1]:
            began = began if depth else tag.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                quotes.append((began, tag.start()))
    if depth:
        quotes.append((began, len(text)))
    return quotes


def _history_after_colon(text: str) -> int:
    senders = 0
    for colon in islice(_COLON.finditer(text), _MAX_COLONS):
        at = colon.start()
        before = text[max(at - _NAME_REACH, 0) : at]
        if _ENDS_LINE.match(text, at) and _WROTE.search(before):
            return at
        # The name that a mail program gives the sender's line is short.
        if senders < _MAX_SENDERS and _SENDER.search(before[-30:]):
            senders += 1
            if _SENT.search(text, at + 1, at + _HEADERS_REACH):
                return at
    return -1
