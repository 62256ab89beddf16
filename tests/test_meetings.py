"""Meeting links: which are meetings, what they look like afterwards, and what no text may do to us."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendee.link_texts import MAX_LINK_LENGTH
from attendee.link_wrappers import WRAPPERS
from attendee.meeting_services import SERVICES
from attendee.meetings import (
    MAX_WRAPPERS,
    MeetingLinks,
    MeetingUrl,
    find_meeting_url,
    normalise_meeting_url,
    service_of,
)

ZOOM = "https://acme.zoom.us/j/98765432100?pwd=Zm9v"
MEET = "https://meet.google.com/kzr-tmqe-xbw"
CONTEXT = "context=%7b%22Tid%22%3a%2284bd%22%2c%22Oid%22%3a%2217aa%22%7d"
JOIN = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_AbC%40thread.v2/0"
TEAMS = f"{JOIN}?{CONTEXT}"
WEBEX = "https://acme.webex.com/acme/j.php?MTID=m0a1b2c3"

MEETINGS = [
    # Zoom
    ("https://zoom.us/j/98765432100", "https://zoom.us/j/98765432100"),
    ("https://acme.zoom.us/j/98765432100?pwd=Zm9v", ZOOM),
    ("http://acme.zoom.us/j/98765432100?pwd=Zm9v", ZOOM),
    ("http://acme.zoom.us:80/j/98765432100?pwd=Zm9v", ZOOM),
    ("acme.zoom.us/j/98765432100?pwd=Zm9v", ZOOM),
    ("HTTPS://ACME.ZOOM.US/j/98765432100?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us:443/j/98765432100?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us:/j/98765432100?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us./j/98765432100?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us//j/98765432100/?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us/j/98765432100?utm_source=mail&pwd=Zm9v&from=addon#success", ZOOM),
    ("https://acme.zoom.us/j/98765432100?PWD=Zm9v", ZOOM),
    ("https://acme.zoom.us/j/98765432100%3Fpwd%3DZm9v", ZOOM),
    ("https://acme.zoom.us/j/98765432100?from=x&amp;pwd=Zm9v", ZOOM),
    ("https%3A%2F%2Facme.zoom.us%2Fj%2F98765432100%3Fpwd%3DZm9v", ZOOM),
    ("https%253A%252F%252Facme.zoom.us%252Fj%252F98765432100%253Fpwd%253DZm9v", ZOOM),
    ("https://acme.zoom.us/wc/join/98765432100?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us/wc/98765432100/join?prefer=1&pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us/wc/98765432100/start?pwd=Zm9v", ZOOM),
    ("https://acme.zoom.us/wc/98765432100?pwd=Zm9v", ZOOM),
    ("https://app.zoom.us/wc/98765432100/join?pwd=a.1", "https://zoom.us/j/98765432100?pwd=a.1"),
    ("https://us02web.zoom.us/j/8123456789?pwd=a%2Bb.1&x=1", "https://us02web.zoom.us/j/8123456789?pwd=a%2Bb.1"),
    ("https://us02web.zoom.us/w/81234567890?uuid=W&tk=q-_.DQ", "https://us02web.zoom.us/w/81234567890?tk=q-_.DQ"),
    ("https://zoom.us/s/81234567890?zak=ey.J0", "https://zoom.us/s/81234567890?zak=ey.J0"),
    ("https://zoom.us/j/8?tk=b&pwd=a", "https://zoom.us/j/8?pwd=a&tk=b"),
    ("https://zoom.us/j/8?pwd=&pwd=a", "https://zoom.us/j/8?pwd=a"),
    ("https://zoom.us/my/ana.ruiz", "https://zoom.us/my/ana.ruiz"),
    ("https://acme.zoom.us/my/ana.ruiz?pwd=x", "https://acme.zoom.us/my/ana.ruiz?pwd=x"),
    ("https://zoom.com/j/98765432100", "https://zoom.com/j/98765432100"),
    ("https://acme.zoomgov.com/j/1612345678?pwd=b", "https://acme.zoomgov.com/j/1612345678?pwd=b"),
    ("https://acme.zoom.com.cn/j/1612345678", "https://acme.zoom.com.cn/j/1612345678"),
    # Google Meet
    ("https://meet.google.com/kzr-tmqe-xbw", MEET),
    ("http://meet.google.com/kzr-tmqe-xbw", MEET),
    ("meet.google.com/kzr-tmqe-xbw", MEET),
    ("https://meet.google.com/KZR-TMQE-XBW", MEET),
    ("https://meet.google.com/kzr-tmqe-xbw?authuser=0&hs=122&pli=1", MEET),
    ("https://meet.google.com/_meet/kzr-tmqe-xbw?ijlm=1", MEET),
    ("https://meet.google.com/kzr-tmqe-xbw/", MEET),
    ("https://meet.google.com/lookup/abc123defg?authuser=1", "https://meet.google.com/lookup/abc123defg"),
    # Teams
    (TEAMS, TEAMS),
    (JOIN, JOIN),
    (JOIN.removesuffix("/0"), JOIN),
    (f"{TEAMS}&anon=true&deeplinkId=7", TEAMS),
    (TEAMS.replace("19%3ameeting_AbC%40", "19:meeting_AbC@"), TEAMS),
    (TEAMS.replace("19%3ameeting_AbC%40", "19%3Ameeting_AbC%40"), TEAMS),
    (TEAMS.replace("19%3ameeting_AbC%40", "19%253ameeting_AbC%2540"), TEAMS),
    (TEAMS.replace("%", "%25"), TEAMS),
    (TEAMS.replace("%", "%2525"), TEAMS),
    (quote(TEAMS, safe=""), TEAMS),
    (JOIN + '?context={"Tid":"84bd","Oid":"17aa"}', TEAMS),
    (JOIN + "?context=%7b%22Tid%22%3a", JOIN),
    ("https://teams.microsoft.com/_#/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT, TEAMS),
    ("https://teams.microsoft.com/_%23/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT, TEAMS),
    ("https://teams.microsoft.com/v2/#/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT, TEAMS),
    ("https://teams.microsoft.com/v2/?meetingjoin=true#/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT, TEAMS),
    ("https://teams.microsoft.com/v2/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT, TEAMS),
    (
        "https://teams.microsoft.com/dl/launcher/launcher.html?url="
        + quote("/_#/l/meetup-join/19:meeting_AbC@thread.v2/0?" + CONTEXT + "&anon=true", safe="")
        + "&type=meetup-join&deeplinkId=1&directDl=true",
        TEAMS,
    ),
    (
        "https://teams.live.com/dl/launcher/launcher.html?url=%2F_%23%2Fmeet%2F9312345678901%3Fp%3DaB3&type=meet",
        "https://teams.live.com/meet/9312345678901?p=aB3",
    ),
    (
        "https://teams.microsoft.com/l/meetup-join/19%3a0d1e%40thread.tacv2/1699876543210",
        "https://teams.microsoft.com/l/meetup-join/19%3a0d1e%40thread.tacv2/1699876543210",
    ),
    ("https://teams.live.com/meet/9312345678901?p=aB3", "https://teams.live.com/meet/9312345678901?p=aB3"),
    ("https://teams.live.com/_#/meet/9312345678901?p=aB3", "https://teams.live.com/meet/9312345678901?p=aB3"),
    ("https://teams.microsoft.com/meet/23412?p=aB3&x=1", "https://teams.microsoft.com/meet/23412?p=aB3"),
    (TEAMS.replace("teams.microsoft.com", "gov.teams.microsoft.us"),) * 2,
    (TEAMS.replace("teams.microsoft.com", "dod.teams.microsoft.us"),) * 2,
    (TEAMS.replace("teams.microsoft.com", "teams.cloud.microsoft"),) * 2,
    # Webex
    (WEBEX, WEBEX),
    ("https://acme.webex.com/acme/j.php?RGID=1&mtid=m0a1b2c3", WEBEX),
    ("https://acme.webex.com/j.php?MTID=m0a1b2c3", "https://acme.webex.com/j.php?MTID=m0a1b2c3"),
    ("https://acme.webex.com/meet/ana.ruiz", "https://acme.webex.com/meet/ana.ruiz"),
    ("https://acme.webex.com/join/aruiz?from=mail", "https://acme.webex.com/join/aruiz"),
    ("https://acme.my.webex.com/meet/aruiz", "https://acme.my.webex.com/meet/aruiz"),
    ("https://web.webex.com/meet/aruiz", "https://web.webex.com/meet/aruiz"),
    ("https://acme.webex.com/m/6f1b2c3d-0a1b-4c2d-8e3f-0123456789ab",) * 2,
    (
        "https://acme.webex.com/wbxmjs/joinservice/sites/acme/meeting/download/0a1b2c?siteurl=acme&MTID=m0a1",
        "https://acme.webex.com/wbxmjs/joinservice/sites/acme/meeting/download/0a1b2c?MTID=m0a1",
    ),
    ("https://acme.webex.com/webappng/sites/acme/meeting/info/0a1b2c",) * 2,
    # Jitsi
    ("https://meet.jit.si/AcmeStandup#config.startWithAudioMuted=true", "https://meet.jit.si/AcmeStandup"),
    # What people and mail programs put around a link
    (f"  <{ZOOM}>\r\n", ZOOM),
    (f"({ZOOM}).", ZOOM),
    (f"**{ZOOM}**", ZOOM),
    (f'"{ZOOM}"', ZOOM),
    # Wrapped links
    (f"https://eur01.safelinks.protection.outlook.com/?url={quote(ZOOM, safe='')}&data=05%7C0&reserved=0", ZOOM),
    (f"https://eur01.safelinks.protection.outlook.com/?url={quote(TEAMS, safe='')}&amp;data=05", TEAMS),
    (f"https://eur01.safelinks.protection.outlook.com/ap/t-59584e83/?url={quote(TEAMS, safe='')}", TEAMS),
    (f"https://eur01.safelinks.protection.outlook.com/?url={quote(quote(ZOOM, safe=''), safe='')}&data=05", ZOOM),
    (f"https://gcc02.safelinks.protection.office365.us/?url={quote(WEBEX, safe='')}", WEBEX),
    (f"https://statics.teams.cdn.office.net/evergreen-assets/safelinks/1/l.html?url={quote(TEAMS, safe='')}", TEAMS),
    (f"https://www.google.com/url?q={quote(ZOOM, safe='')}&sa=D&source=calendar", ZOOM),
    (f"https://www.google.com/url?q={ZOOM}&sa=D", ZOOM),
    (f"https://www.google.com/url?sa=t&url={quote(MEET, safe='')}", MEET),
    (f"https://meet.google.com/linkredirect?authuser=0&dest={quote(ZOOM, safe='')}", ZOOM),
    (f"https://urldefense.proofpoint.com/v1/url?u={quote(ZOOM, safe='')}&k=oIvRg1%3D%3D%0A", ZOOM),
    (
        "https://urldefense.proofpoint.com/v2/url?u=https-3A__acme.zoom.us_j_98765432100-3Fpwd-3DZm9v&d=DwMF-g&c=x",
        ZOOM,
    ),
    (f"https://urldefense.com/v3/__{ZOOM}__;!!AbC!x-1_$", ZOOM),
    (f"https://urldefense.com/v3/__{ZOOM.replace('//', '/')}__;!!AbC!x$", ZOOM),
    (f"https://urldefense.com/v3/__{ZOOM.replace('?', '*')}__;{base64.b64encode(b'?').decode()}!!AbC!x$", ZOOM),
    (
        "https://urldefense.com/v3/__"
        + TEAMS.replace("%", "*")
        + f"__;{base64.urlsafe_b64encode(b'%' * TEAMS.count('%')).decode().rstrip('=')}!!AbC!x$",
        TEAMS,
    ),
    (f"https://urldefense.com/v3/__{ZOOM.replace('://', '**B')}__;{base64.b64encode(b'://').decode()}!!A!x$", ZOOM),
]

NOT_MEETINGS = [
    "",
    "Room Alder",
    "tel:+4930123456",
    "Microsoft Teams Meeting",
    # Look-alikes
    "https://zoom.us.example.com/j/1",
    "https://evilzoom.us/j/1",
    "https://evil-zoom.us/j/1",
    "https://zoom.us@evil.com/j/1",
    "https://evil.com@zoom.us/j/1",
    "https://user:pass@zoom.us/j/1",
    "https://zoom.us\\@evil.com/j/1",
    "https://evil.com\\.zoom.us/j/1",
    "https://zoom.us:8443/j/1",
    "https://zoom.us:80/j/1",
    "http://zoom.us:443/j/1",
    "https://zoom.us:x/j/1",
    "https://z\u043e\u043em.us/j/1",
    "https://zoom。us/j/1",
    "https://xn--zm-fmca.us/j/1",
    "https://\u017foom.us/j/1",
    "https://..zoom.us/j/1",
    "https://.zoom.us/j/1",
    "https://evil.com/zoom.us/j/1",
    "https://evil.com/?zoom.us/j/1",
    "https://evil.com/#https://zoom.us",
    "https://meet.google.com.evil.com/kzr-tmqe-xbw",
    "https://teams-microsoft.com/l/meetup-join/19%3ameeting_AbC%40thread.v2/0",
    "https://webex.com.evil.com/meet/ana",
    "https://safelinks.protection.outlook.com.evil.com/",
    "ftp://zoom.us/j/1",
    "javascript:zoom.us/j/1",
    "//zoom.us/j/1",
    "ana@zoom.us",
    "https://acme.zoom.example/j/98765432100?pwd=Zm9v",
    "https://zoom.example/j/1",
    "http://127.0.0.1:8100/rooms/abc",
    # Pages of the services that are no meetings
    "https://zoom.us",
    "https://zoom.us/",
    "https://zoom.us/join",
    "https://zoom.us/j/",
    "https://zoom.us/j/abc",
    "https://zoom.us/download",
    "https://zoom.us/u/acxyz",
    "https://zoom.us/signin",
    "https://zoom.us/meeting/register/tJ0",
    "https://zoom.us/webinar/register/WN_a",
    "https://zoom.us/rec/share/abc",
    "https://support.zoom.us/hc/en-us/articles/201362663",
    "https://zoom.us/j/../download",
    "https://meet.google.com/",
    "https://meet.google.com/new",
    "https://meet.google.com/landing",
    "https://meet.google.com/tel/kzr-tmqe-xbw",
    "https://tel.meet/kzr-tmqe-xbw?pin=123",
    "https://support.google.com/a/users/answer/9282720",
    "https://teams.microsoft.com/l/channel/19%3a0d1e%40thread.tacv2/General",
    "https://teams.microsoft.com/l/meeting/new?subject=x",
    "https://teams.microsoft.com/meetingOptions/?organizerId=1&threadId=19_meeting_AbC@thread.v2",
    "https://teams.microsoft.com/l/meetup-join/",
    "https://teams.microsoft.com/l/chat/19%3ameeting_AbC%40thread.v2/0",
    "https://teams.microsoft.com/_#/calendarv2",
    "https://teams.microsoft.com/downloads",
    "https://dialin.teams.microsoft.com/8551f4c1?id=1234",
    "https://aka.ms/JoinTeamsMeeting",
    "https://acme.webex.com/acme/j.php",
    "https://acme.webex.com/acme/globalcallin.php?MTID=m0a1",
    "https://acme.webex.com/cmp3300/webcomponents/widget/globalcallin/globalcallin.do?MTID=m0a1",
    "https://help.webex.com/en-us/article/abc",
    "https://www.webex.com/downloads.html",
    # Wrapped, but not a meeting
    "https://www.google.com/url?q=https%3A%2F%2Fevil.com%2Fj%2F1",
    "https://www.google.com/url",
    "https://www.google.com/search?q=https%3A%2F%2Fzoom.us%2Fj%2F1",
    "https://urldefense.com/v3/__https://zoom.us/download__;!!A!x$",
    "https://urldefense.com/v3/__https://zoom*us/j/1__;!A=!x$",
    "https://urldefense.com/v3/__",
    f"https://www.google.com:81/url?q={quote(ZOOM, safe='')}",
    # More than a link
    f"{ZOOM} {MEET}",
    f"Join: {ZOOM}",
    "https://zoom.us/j/1\x00",
    "https://zoom.us/j/1\n2",
    "https://zoom.us/j/1\ud800",
]


@pytest.mark.parametrize(("text", "url"), MEETINGS)
def test_meetings_are_recognised_and_normalised(text: str, url: str) -> None:
    """Every spelling of a meeting link becomes the same link."""
    found = normalise_meeting_url(text)
    assert found is not None
    assert found.url == url
    assert normalise_meeting_url(found.url) == found


@pytest.mark.parametrize("text", NOT_MEETINGS)
def test_everything_else_is_refused(text: str) -> None:
    """Look-alike hosts, other pages of the services and text around a link are no meeting link."""
    assert normalise_meeting_url(text) is None
    assert service_of(text) is None


@pytest.mark.parametrize(
    ("url", "service"), [(ZOOM, "zoom"), (MEET, "google_meet"), (TEAMS, "teams"), (WEBEX, "webex")]
)
def test_the_service_is_told(url: str, service: str) -> None:
    """A meeting link says which service's it is."""
    assert service_of(url) == service
    assert normalise_meeting_url(url) == MeetingUrl(url=url, service=service)


IN_TEXT = [
    (f"Join: {ZOOM}.", ZOOM),
    (f"Zoom:{ZOOM}", ZOOM),
    (f"{ZOOM}, passcode 424242", ZOOM),
    (f"{ZOOM};{MEET}", ZOOM),
    (f"{MEET}{ZOOM}", MEET),
    ("zoom.us/j/98765432100 (Ana)", "https://zoom.us/j/98765432100"),
    ("Alder / meet.google.com/kzr-tmqe-xbw", MEET),
    (f"会議{ZOOM}パスコード", ZOOM),
    (f"[Join]({ZOOM})", ZOOM),
    (f"[{ZOOM}]({ZOOM})", ZOOM),
    (f"_{MEET}_ and **bold**", MEET),
    (f"Join <{TEAMS}> or dial", TEAMS),
    (f"Line\\n{ZOOM}\\nLine", ZOOM),
    (f"\x00{ZOOM}\x00\ud800", ZOOM),
    (f"Docs: https://docs.example/x, help https://zoom.us/download then {ZOOM} or {MEET}", ZOOM),
    (f"https://zoom.us.evil.example/j/1 {MEET}", MEET),
    ("https://zoom.us@evil.example/j/1", None),
    ("https://evil.example/zoom.us/j/1", None),
    ("ana@zoom.us/j/1", None),
    ("z\u043e\u043em.us/j/1", None),
    ("Find your number: https://zoom.us/u/abc", None),
    (f"https://gateway.example/click?id=1&to={quote(ZOOM, safe='')}&sig=2", ZOOM),
    (f"https://eur01.safelinks.protection.outlook.com/?url={ZOOM}&data=05", ZOOM),
    (f'<p>Hi</p><a href="{ZOOM.replace("?", "?from=x&amp;")}">Join</a>', ZOOM),
    (f"<a href='{ZOOM}'>{MEET}</a>", ZOOM),
    (f"<a href={ZOOM}>Join</a>", ZOOM),
    (f"<A HREF='https://evil.example/'>{MEET}</A>", None),
    (f"<td>{MEET}<br></td>", MEET),
    (f"&lt;{MEET}&gt;&nbsp;", MEET),
    (f"{MEET}&nbsp;Thanks", MEET),
    ("https&#58;&#47;&#47;meet.google.com&#x2F;kzr-tmqe-xbw", MEET),
    (f"<!-- {ZOOM} --><style>a {{ background: url({ZOOM}) }}</style><p>{MEET}</p>", MEET),
    (f"<script>var x = '{ZOOM}'</script>{MEET}", MEET),
    (f"<!--[if mso]>{ZOOM}<![endif]--><!--[if !mso]><!-->{MEET}<!--<![endif]-->", MEET),
    (f"<!-- never closed {MEET}", MEET),
    (f'<a href="https://nam.safelinks.protection.outlook.com/?url={quote(TEAMS, safe="")}&amp;data=05%7C0">', TEAMS),
    (f'<b><a href="https://urldefense.com/v3/__{ZOOM}__;!!AbC!x$">Join</a>', ZOOM),
    ("No link at all", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "url"), IN_TEXT)
@pytest.mark.parametrize("field", ["location", "body", "title"])
def test_links_are_found_in_every_kind_of_text(field: str, text: str, url: str | None) -> None:
    """The first meeting link by place is found, in plain text, HTML and Markdown alike."""
    fields = {"location": "", "body": "", "title": "", field: text}
    assert find_meeting_url(conference=(), **fields) == url


def test_the_fields_come_in_the_order_of_trust() -> None:
    """Conference fields win over the location, that over the body, that over the title."""
    assert find_meeting_url(conference=["tel:+1", MEET], location=ZOOM, body=TEAMS, title=WEBEX) == MEET
    assert find_meeting_url(conference=["tel:+1"], location=ZOOM, body=TEAMS, title=WEBEX) == ZOOM
    assert find_meeting_url(conference=[], location="Alder", body=TEAMS, title=WEBEX) == TEAMS
    assert find_meeting_url(conference=[], location="", body="", title=WEBEX) == WEBEX


def wrapped(link: str, times: int) -> str:
    for _ in range(times):
        link = f"https://eur01.safelinks.protection.outlook.com/?url={quote(link, safe='')}&data=05"
    return link


def test_wrappers_are_unwrapped_to_a_depth() -> None:
    """A link wrapped up to five times is a meeting link; wrapped once more it is none."""
    for times in range(MAX_WRAPPERS + 1):
        assert service_of(wrapped(MEET, times)) == "google_meet"
    assert service_of(wrapped(MEET, MAX_WRAPPERS + 1)) is None


def test_links_are_bounded() -> None:
    """A link longer than the limit is none, also when it would only become so by being escaped."""
    assert service_of("https://zoom.us/j/1?pwd=" + "a" * MAX_LINK_LENGTH) is None
    assert service_of("https://zoom.us/j/1?pwd=" + '"a' * (MAX_LINK_LENGTH // 3)) is None


def test_more_hosts_of_a_service() -> None:
    """A host added to a service counts as the service's own, over https, with its subdomains."""
    links = MeetingLinks(extra_hosts=(("zoom", "zoom.example"),))
    assert links.normalise_meeting_url("http://acme.zoom.example/j/1?x=2&pwd=a") == MeetingUrl(
        url="https://acme.zoom.example/j/1?pwd=a", service="zoom"
    )
    assert links.service_of("https://zoom.example:8443/j/1") is None
    assert links.service_of("https://zoom.example/download") is None
    assert links.service_of(ZOOM) == "zoom"


def test_a_host_with_scheme_and_port() -> None:
    """An origin makes its pages meetings over that scheme and port only: the sandbox's rooms, say."""
    links = MeetingLinks(extra_hosts=(("sandbox", "http://127.0.0.1:8100"),))
    room = "http://127.0.0.1:8100/rooms/abc-1"
    assert links.normalise_meeting_url(room + "?x=1#top") == MeetingUrl(url=room, service="sandbox")
    assert links.find_meeting_url(conference=(), location=f"Room: {room}.", body="", title="") == room
    for refused in (
        "https://127.0.0.1:8100/rooms/abc",
        "http://127.0.0.1:8101/rooms/abc",
        "http://127.0.0.1/rooms/abc",
        "http://127.0.0.1:8100/rooms/",
        "http://127.0.0.1:8100/rooms/abc/members",
        "http://127.0.0.1:8100/rooms/a_b",
        "http://127.0.0.1:8100/admin",
        "http://127.0.0.1:8100/rooms/../admin",
        "http://127.0.0.1:8100/rooms/%2e%2e/admin",
        "http://evil@127.0.0.1:8100/rooms/abc",
    ):
        assert links.service_of(refused) is None


def test_a_port_is_met_over_https() -> None:
    """A host added with a port is met there over https; the scheme's own port is as good as none."""
    links = MeetingLinks(extra_hosts=(("jitsi", "meet.example:8443"), ("jitsi", "http://rooms.example:80/")))
    for url in ("https://meet.example:8443/Standup", "http://rooms.example/Standup"):
        assert links.normalise_meeting_url(url) == MeetingUrl(url=url, service="jitsi")
    assert links.service_of("http://meet.example:8443/Standup") is None
    assert links.service_of("https://rooms.example/Standup") is None


@pytest.mark.parametrize(
    "host", ["", "zoom.example/rooms", "ftp://zoom.example", "a b", "u@zoom.example", "zoom..x", "x:0", "x:65536"]
)
def test_a_bad_extra_host_is_refused(host: str) -> None:
    """What is no host, host with port or origin raises at once, not when the first link comes by."""
    with pytest.raises(ValueError, match="is no host for zoom"):
        MeetingLinks(extra_hosts=(("zoom", host),))


def test_a_host_of_no_known_service_is_refused() -> None:
    """A service that the table lacks is a slip of the pen; the message says which ones there are."""
    with pytest.raises(ValueError, match=r"there is no service 'zoon'; there are .*zoom"):
        MeetingLinks(extra_hosts=(("zoon", "zoom.example"),))


DATA = Path(__file__).parent / "data"
HOSTILE = json.loads((DATA / "hostile_units.json").read_text())
MEGABYTES = 2_000_000


@pytest.mark.parametrize("unit", HOSTILE)
def test_megabytes_of_hostile_text_are_read_through(unit: str) -> None:
    """Megabytes of anything come to an end: with quadratic work anywhere this test would take hours.

    A personal room in front has everything around it looked at, and loses to nothing: there is no other meeting.
    """
    room = "https://zoom.us/my/ana"
    text = unit * (MEGABYTES // len(unit))
    assert find_meeting_url(conference=(), location="", body=text, title="") is None
    assert find_meeting_url(conference=(), location="", body=f"{room} {text}", title="") == room
    assert normalise_meeting_url(text) is None


FRAGMENTS = (
    'https:// http:// zoom.us /j/ /my/ 1 ?pwd= & % %25 %2e = . ~ # /_# /l/meetup-join/19%3aa%40b/0 ?context= { } " '
    "meet.google.com/abc-defg-hij \\ ; &amp; https://urldefense.com/v3/__ __; !! * 127.0.0.1:8100/ "
    "teams.microsoft.com :443 @ \ud800"
)
TEXTS = st.one_of(
    st.text(), st.lists(st.one_of(st.sampled_from(FRAGMENTS.split()), st.text(max_size=2)), max_size=12).map("".join)
)
CASES = [json.loads(line) for line in (DATA / "meeting_links.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case['source']}" for number, case in enumerate(CASES, 1)])
def test_the_corpus_is_read_as_a_person_would(case: dict[str, Any]) -> None:
    """In every case the meeting that a person would click is found, in its one form, and POST /bots takes it so."""
    fields: dict[str, Any] = {"conference": (), "location": "", "body": "", "title": ""}
    fields.update({name: value for name, value in case.items() if name in fields})
    assert find_meeting_url(**fields) == case["expected"]
    if case["expected"] is not None:
        taken = normalise_meeting_url(case["expected"])
        assert taken is not None
        assert taken.url == case["expected"]


def test_a_text_that_is_a_link_is_read_as_a_search_would() -> None:
    """For every link that an event of the corpus has as its conference, and every one that was found in it."""
    links = {link for case in CASES for link in (*case.get("conference", ()), case["expected"]) if link}
    for link in links:
        in_sentence = find_meeting_url(conference=(), location="", body=f"Join: {link}", title="")
        assert find_meeting_url(conference=[link], location="", body="", title="") == in_sentence


def test_the_corpus_is_wide() -> None:
    """At least 400 cases, no two alike, with meetings of every service that has hosts, and texts without any."""
    assert len(CASES) >= 400
    assert len({json.dumps(case, sort_keys=True) for case in CASES}) == len(CASES)
    expected = [case["expected"] for case in CASES]
    assert expected.count(None) >= 100
    services = {service_of(url) for url in expected if url is not None}
    assert services == {service.name for service in SERVICES if service.hosts}


def test_the_page_of_services_is_that_of_the_table() -> None:
    """docs/meeting-links.md lists every service and every gateway, and no other."""
    page = (Path(__file__).parents[1] / "docs" / "meeting-links.md").read_text()
    rows = [
        f"| {one.title} | `{one.name}` | {', '.join(one.hosts) or 'by `MEETING_HOSTS` only'} | {one.to_join} |"
        for one in SERVICES
    ]
    assert "\n".join(rows) in page
    gateways = ", ".join(wrapper.name for wrapper in WRAPPERS)
    assert f"{gateways}." in page.replace("\n", " ")


def test_the_services_that_bots_can_join() -> None:
    """Without a list bots can join them all; with one, the others are refused with a sentence that names them."""
    assert MeetingLinks().why_not_joinable(ZOOM) is None
    links = MeetingLinks(joinable=("zoom", "google_meet"))
    assert links.why_not_joinable(ZOOM) is None
    assert links.why_not_joinable(TEAMS) == (
        "The bots here can't join meetings of Microsoft Teams; they can join Google Meet, Zoom."
    )
    with pytest.raises(ValueError, match="there is no service 'zoon'"):
        MeetingLinks(joinable=("zoon",))


CONFIGURED = MeetingLinks(extra_hosts=(("sandbox", "http://127.0.0.1:8100"),))


@given(TEXTS)
def test_no_text_raises_and_normalising_twice_changes_nothing(text: str) -> None:
    """Whatever comes in, either there is no meeting link or one that normalises to itself."""
    found = CONFIGURED.normalise_meeting_url(text)
    assert found is None or CONFIGURED.normalise_meeting_url(found.url) == found
    url = CONFIGURED.find_meeting_url(conference=[text], location=text, body=text, title=text)
    again = CONFIGURED.find_meeting_url(conference=(), location=f"Join {url} now", body="", title="")
    assert again == url


@given(
    st.sampled_from(
        [
            "https://zoom.us/j/1?pwd=",
            "https://zoom.us/my/",
            "https://acme.webex.com/acme/j.php?MTID=",
            f"{JOIN}?context=",
            "https://teams.microsoft.com/l/meetup-join/19:",
            "https://teams.live.com/meet/1?p=",
            "http://127.0.0.1:8100/rooms/",
        ]
    ),
    TEXTS,
)
def test_any_ending_of_a_link_normalises_to_a_fixed_point(start: str, rest: str) -> None:
    """A known link with anything behind it is refused, or becomes a link of printable ASCII that stays as it is."""
    found = CONFIGURED.normalise_meeting_url(start + rest)
    if found is not None:
        assert found.url.isascii()
        assert found.url.isprintable()
        assert " " not in found.url
        assert CONFIGURED.normalise_meeting_url(found.url) == found


HOSTS = sorted(host for service in SERVICES for host in service.hosts)
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)


@given(st.sampled_from(HOSTS), LABELS, st.sampled_from(["/j/1", "/meet/1", "/abc-defg-hij", "/room", "/join?key=1"]))
def test_no_look_alike_host_is_taken(host: str, label: str, path: str) -> None:
    """What merely begins, ends or shows with a known host is no meeting, as a link or in a text."""
    homograph = host.replace("o", "\u043e", 1) if "o" in host else f"\u0430{host}"
    for odd in (
        f"https://{host}.{label}.example{path}",
        f"https://{host}-{label}.example{path}",
        f"https://{label}.example/{host}{path}",
        f"https://{host}@{label}.example{path}",
        f"https://{label}@{host}{path}",
        f"https://{host}:8443{path}",
        f"https://{homograph}{path}",
        f"{homograph}{path}",
    ):
        assert service_of(odd) is None
        assert find_meeting_url(conference=(odd,), location=odd, body=f"<p>{odd}</p>", title=odd) is None


@given(TEXTS, st.sampled_from([ZOOM, MEET, TEAMS, WEBEX, "https://zoom.us/my/ana"]), TEXTS)
def test_what_is_found_is_what_post_bots_takes(before: str, link: str, after: str) -> None:
    """Whatever stands around links, the one that is found is a meeting link already, and is not changed any more."""
    found = find_meeting_url(conference=(), location="", body=f"{before} {link} {after}", title="")
    if found is not None:
        taken = normalise_meeting_url(found)
        assert taken is not None
        assert taken.url == found
