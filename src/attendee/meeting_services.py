"""The services that we know meetings of: one table row each. How a row is read: `meeting_shapes.py`.

A new service is one row here; `meetings.py` reads it and needs no change.
"""

from attendee.meeting_shapes import Kind, Service, Shape
from attendee.meeting_spellings import TEAMS_HOSTS, one_chime, one_google_meet, one_teams, one_zoom

_NAME = "a name"
_CODE_IN_LINK = "a name; the passcode is in the link, if there is one"
_ASKED_CODE = "a name, and the passcode if the room has one"
_ACCOUNT = "an account of the service"
_APP = "the service's own program"

_NUMBER = r"\d{3,20}"
_WORD = r"[A-Za-z0-9_-]+"
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

# Rooms of Jitsi Meet, and of what is built on it, have any name but those of its files.
_JITSI_ROOM = (
    r"/(?!(?:about|colibri-ws|conference-request|config\.js|css|favicon\.ico|fonts|http-bind|images|lang|libs|robots\.txt"
    r"|sounds|static|xmpp-websocket)(?:/|\Z))[^/]+(?:/[^/]+)?"
)


def _room(path: str = r"/[^/]+", hosts: tuple[str, ...] = ()) -> Shape:
    return Shape(path, Kind.ROOM, hosts, named=True)


SERVICES: tuple[Service, ...] = (
    Service(
        "zoom",
        "Zoom",
        ("zoom.us", "zoom.com", "zoomgov.com", "zoom.com.cn", "zoom-x.de"),
        (
            # /j/ joins, /w/ is a webinar; Zoom promises no length of ids.
            Shape(r"/[jw]/\d{1,15}(?:/[\w-]+)?"),
            Shape(r"/s/\d{1,15}", Kind.DETOUR),
            Shape(r"/my/[\w.%-]+", Kind.ROOM),
            Shape(r"/(?:ev|ejl)/[\w.~-]+", Kind.DETOUR, ("events.zoom.us", "events.zoom.com")),
        ),
        _CODE_IN_LINK,
        keeps=("pwd", "tk", "zak", "token"),
        canonical=one_zoom,
    ),
    Service(
        "google_meet",
        "Google Meet",
        ("meet.google.com", "g.co"),
        (
            Shape(r"/[a-z]{3}-[a-z]{4}-[a-z]{3}", hosts=("meet.google.com",)),
            Shape(r"/lookup/[\w.-]+", hosts=("meet.google.com",)),
            Shape(r"/stream/" + _GUID, Kind.DETOUR, ("stream.meet.google.com",)),
        ),
        "a name; somebody of the organisation lets it in",
        canonical=one_google_meet,
    ),
    Service(
        "teams",
        "Microsoft Teams",
        TEAMS_HOSTS,
        (
            Shape(r"/l/meetup-join/19%3a(?:[\w.=+-]|%3a)+%40[\w.]+/\d+"),
            Shape(r"/meet/\d{1,20}"),
            Shape(r"/light-meetings/launch", needs=("p",)),
            Shape(rf"/event/{_GUID}(?:@|%40){_GUID}", Kind.DETOUR, ("events.teams.microsoft.com",)),
        ),
        _CODE_IN_LINK,
        keeps=("context", "p"),
        canonical=one_teams,
    ),
    Service(
        "webex",
        "Webex",
        ("webex.com", "webex.com.cn"),
        (
            Shape(r"/(?:meet|join)/[\w.%@-]+", Kind.ROOM),
            Shape(r"/m/[0-9a-fA-F-]{32,36}"),
            Shape(r"/(?:[\w.-]+/){0,3}[jg]\.php", needs=("MTID",)),
            Shape(r"/(?:wbxmjs/joinservice|webappng)/sites/[\w.-]+/meeting/(?:download|info)/\w+"),
        ),
        "a name and an address; the password, unless the link has it (MTID)",
        keeps=("MTID", "PW"),
    ),
    Service(
        "goto",
        "GoTo Meeting and Webinar",
        ("goto.com", "gotomeeting.com", "gotomeet.me", "gotomeet.at", "gotowebinar.com", "gototraining.com"),
        (
            Shape(rf"/{_NUMBER}", hosts=("meet.goto.com",)),
            _room(hosts=("meet.goto.com", "gotomeet.me", "gotomeet.at")),
            Shape(rf"/(?:meeting/)?join/{_NUMBER}(?:/\d+)?", hosts=("gotomeeting.com", "gotowebinar.com")),
            Shape(r"/meet/[\w.-]+", Kind.ROOM, ("gotomeeting.com",)),
            Shape(r"", hosts=("app.gotomeeting.com", "app.goto.com"), needs=("meetingId",)),
            Shape(rf"/meeting/{_NUMBER}", hosts=("app.goto.com",)),
            Shape(rf"/join/(?:training/)?{_NUMBER}(?:/\d+)?", hosts=("gototraining.com",)),
        ),
        _ASKED_CODE,
        keeps=("meetingId",),
    ),
    Service(
        "chime",
        "Amazon Chime",
        ("chime.aws",),
        (Shape(r"/\d{10,13}"), _room(r"/[\w.-]+")),
        _NAME,
        canonical=one_chime,
    ),
    Service(
        "jitsi",
        "Jitsi Meet",
        ("meet.jit.si", "meet.ffmuc.net", "meet.systemli.org", "calls.disroot.org", "framatalk.org"),
        (Shape(_JITSI_ROOM, Kind.ROOM),),
        _ASKED_CODE,
        keeps=("jwt",),
    ),
    Service(
        "whereby",
        "Whereby",
        ("whereby.com", "appear.in"),
        (_room(r"/[\w.-]+"),),
        "a name; the host lets it in unless the link has a key",
        keeps=("roomKey",),
    ),
    Service(
        "ringcentral",
        "RingCentral Video",
        (
            *("v.ringcentral.com", "video.ringcentral.com", "meetings.ringcentral.com", "webinar.ringcentral.com"),
            *("meetings.officeathand.att.com", "video.officeathand.att.com", "meetings.btcloudphone.bt.com"),
            *("video.unifyoffice.com", "video.cloudoffice.avaya.com", "video.rainbowoffice.com"),
            "meetings.businessconnect.telus.com",
        ),
        (Shape(rf"/(?:conf/)?(?:join|j|w)/{_NUMBER}"), Shape(r"/join", needs=("mid",))),
        _CODE_IN_LINK,
        keeps=("mid", "pw", "pwd"),
    ),
    Service(
        "bluejeans",
        "BlueJeans",
        ("bluejeans.com",),
        (
            Shape(rf"/(?:meet/)?{_NUMBER}(?:/\d+)?(?:/(?:webrtc|quick|browser))?"),
            Shape(r"/a2m/live-event/\w+", Kind.DETOUR),
            Shape(r"/meet/[\w.-]+", Kind.ROOM),
        ),
        _CODE_IN_LINK,
    ),
    Service("skype", "Skype", ("join.skype.com",), (Shape(rf"/(?!bot(?:/|\Z))(?:meet/)?{_WORD}"),), _NAME),
    Service(
        "skype_for_business",
        "Skype for Business",
        ("meet.lync.com",),
        (Shape(r"/(?:[\w.-]+/)?[\w.-]+/(?=[A-Z0-9]*[0-9])[A-Z0-9]{6,12}"),),
        _NAME,
    ),
    Service(
        "slack_huddle", "Slack huddle", ("app.slack.com",), (Shape(r"/huddle/[TE]\w+/[CDG]\w+", Kind.ROOM),), _ACCOUNT
    ),
    Service(
        "discord",
        "Discord",
        ("discord.com", "discordapp.com", "discord.gg"),
        (
            Shape(r"/(?:invite|events/\d+)/[\w-]+", Kind.DETOUR, ("discord.com", "discordapp.com")),
            Shape(r"/channels/(?:\d+|@me)/\d+", Kind.DETOUR, ("discord.com", "discordapp.com")),
            Shape(r"/[\w-]+", Kind.DETOUR, ("discord.gg",)),
        ),
        _ACCOUNT,
        keeps=("event",),
    ),
    Service(
        "zoho",
        "Zoho Meeting",
        tuple(
            f"{product}.zoho.{country}"
            for country in ("com", "eu", "in", "com.au", "com.cn", "jp", "sa", "uk", "ca")
            for product in ("meeting", "meet", "cliq")
        ),
        (
            Shape(r"/(?:meeting/|webinar/)?(?:join|attend)", needs=("key",)),
            Shape(rf"/(?:join|meeting/join)/{_NUMBER}"),
            Shape(rf"/meetings/{_WORD}"),
            _room(rf"/(?!meeting|webinar|cliq|company){_WORD}"),
        ),
        _CODE_IN_LINK,
        keeps=("key", "t", "pwd"),
    ),
    Service(
        "lifesize", "Lifesize", ("call.lifesizecloud.com", "call.lifesize.com"), (Shape(rf"/{_NUMBER}"),), _ASKED_CODE
    ),
    Service("starleaf", "StarLeaf", ("meet.starleaf.com",), (Shape(rf"/{_NUMBER}(?:/app)?"),), _NAME),
    Service(
        "livestorm",
        "Livestorm",
        ("app.livestorm.co", "app.livestorm.com"),
        (Shape(rf"/p/{_GUID}(?:/live)?"), Shape(r"/[\w-]+/[\w-]+/live", Kind.DETOUR)),
        "a name and an address; the registration is in the link",
        keeps=("s",),
    ),
    Service(
        "demio", "Demio", ("event.demio.com", "my.demio.com"), (Shape(r"/(?:ref|join)/\w+"),), "a name and an address"
    ),
    Service("butter", "Butter", ("app.butter.us",), (_room(r"/[\w-]+(?:/[\w-]+)?"),), _NAME),
    Service("around", "Around", ("around.co",), (Shape(r"/r/[\w.-]+"), _room(hosts=("meet.around.co",))), _NAME),
    Service(
        "gather",
        "Gather",
        ("gather.town",),
        (Shape(r"/app/\w+/[^/]+", Kind.ROOM), Shape(r"/invite", needs=("token",))),
        _NAME,
        keeps=("spawnToken", "meeting", "token"),
    ),
    Service(
        "riverside", "Riverside", ("riverside.fm", "riverside.com"), (Shape(r"/studio/[\w.-]+"),), _NAME, keeps=("t",)
    ),
    Service(
        "streamyard",
        "StreamYard",
        ("streamyard.com",),
        (Shape(r"/(?:guest/)?(?=[a-z]*\d)[a-z0-9]{8,13}"), Shape(r"/watch/\w+", Kind.DETOUR)),
        _NAME,
    ),
    Service(
        "daily",
        "Daily",
        ("daily.co",),
        (_room(r"/[\w-]+", (".daily.co",)),),
        "a name; the token is in the link, if there is one",
        keeps=("t",),
    ),
    Service("doxy_me", "Doxy.me", ("doxy.me",), (_room(r"/[\w.-]+"),), _NAME),
    Service(
        "8x8",
        "8x8 Meet",
        ("8x8.vc", "meet.8x8.com"),
        (Shape(_JITSI_ROOM, Kind.ROOM),),
        _ASKED_CODE,
        keeps=("jwt",),
    ),
    Service(
        "vonage",
        "Vonage Meetings",
        ("meetings.vonage.com",),
        (Shape(rf"/(?:join/)?{_NUMBER}"), Shape(r"", needs=("room_token",))),
        _NAME,
        keeps=("room_token",),
    ),
    Service(
        "dialpad",
        "Dialpad Meetings",
        ("meetings.dialpad.com", "uberconference.com"),
        (_room(r"/(?:room/)?[\w.-]+"),),
        _ASKED_CODE,
    ),
    Service(
        "pexip",
        "Pexip",
        ("pexip.me", "pexip.com", "vmr.vc"),
        (
            Shape(r"/(?:meet|webapp\d?/(?:m|conference))/[\w.@%-]+", Kind.ROOM),
            Shape(r"/webapp\d?(?:/home)?", Kind.ROOM, needs=("conference",)),
            Shape(r"/webapp\d?", Kind.ROOM, fragment=r"/?\?conference=.+"),
        ),
        _ASKED_CODE,
        keeps=("conference", "pin"),
    ),
    Service("vowel", "Vowel", ("vowel.com",), (Shape(r"", fragment=rf"/g/{_WORD}"),), _NAME),
    Service("tuple", "Tuple", ("tuple.app",), (Shape(rf"/c/{_WORD}"),), _APP),
    Service(
        "lark",
        "Lark and Feishu",
        ("vc.larksuite.com", "vc.feishu.cn", "meetings.larksuite.com", "meetings.feishu.cn"),
        (Shape(r"/j/\d{6,12}"), Shape(r"/(?:s|minutes/join)/\w+")),
        _NAME,
    ),
    Service(
        "tencent",
        "Tencent Meeting and VooV",
        ("meeting.tencent.com", "voovmeeting.com", "wemeet.qq.com"),
        (Shape(r"/(?:dm|dw|p|s|l|w)/\w+"),),
        _CODE_IN_LINK,
        keeps=("pwd",),
    ),
    Service("dingtalk", "DingTalk", ("meeting.dingtalk.com",), (Shape(r"/j/\w+"),), _ACCOUNT),
    Service(
        "yandex_telemost",
        "Yandex Telemost",
        tuple(f"telemost.{host}" for host in ("yandex.ru", "yandex.com", "yandex.kz", "yandex.by", "360.yandex.ru")),
        (Shape(r"/j/\d+"), Shape(r"/live/\w+", Kind.DETOUR)),
        _NAME,
    ),
    Service(
        "kumospace",
        "Kumospace",
        ("app.kumospace.com", "kumospace.com"),
        (_room(r"/[\w-]+(?:/[\w-]+)?"),),
        _NAME,
        keeps=("t",),
    ),
    Service("luma", "Luma", ("lu.ma", "luma.com"), (Shape(rf"/join/{_WORD}"),), "the guest's own link", keeps=("pk",)),
    Service("join_me", "join.me", ("join.me",), (_room(r"/[\w.-]+"),), _NAME),
    Service(
        "teamviewer",
        "TeamViewer Meeting",
        ("go.teamviewer.com", "go.blizz.com"),
        (Shape(r"/(?:v\d+/)?m\d+"), Shape(r"/join/m?\d+")),
        _CODE_IN_LINK,
        keeps=("password",),
    ),
    Service("facetime", "FaceTime", ("facetime.apple.com",), (Shape(r"/join", fragment=r"v=\d.*"),), _NAME),
    Service("whatsapp", "WhatsApp call", ("call.whatsapp.com",), (Shape(r"/(?:video|voice)/\w+"),), _ACCOUNT),
    Service("signal", "Signal call", ("signal.link",), (Shape(r"/call", fragment=r"key=.+"),), _ACCOUNT),
    Service("workplace", "Workplace", ("workplace.com",), (Shape(rf"/groupcall/{_WORD}"),), _ACCOUNT),
    Service(
        "messenger_rooms",
        "Messenger Rooms",
        ("msngr.com", "facebook.com", "m.me"),
        (
            Shape(r"/\w+", hosts=("msngr.com",)),
            Shape(rf"/groupcall/(?:LINK:)?{_WORD}", hosts=("facebook.com",)),
            Shape(rf"/r/{_WORD}", hosts=("m.me",)),
        ),
        _ACCOUNT,
    ),
    Service(
        "collaborate",
        "Class Collaborate",
        ("bbcollab.com", "bbcollab.cloud"),
        (Shape(r"/(?:collab/ui/session/)?guest/\w+"), Shape(r"/(?:collab/ui/session/)?join/\w+")),
        _NAME,
    ),
    Service(
        "adobe_connect",
        "Adobe Connect",
        ("adobeconnect.com",),
        (_room(r"/[\w-]+", (".adobeconnect.com",)),),
        _ASKED_CODE,
    ),
    Service("cal_video", "Cal Video", ("app.cal.com", "cal.com"), (Shape(rf"/video/{_WORD}"),), _NAME),
    Service("livekit", "LiveKit Meet", ("livekit.io",), (Shape(rf"/rooms/{_WORD}"),), _NAME),
    Service("kmeet", "kMeet", ("kmeet.infomaniak.com",), (Shape(_JITSI_ROOM, Kind.ROOM),), _ASKED_CODE, keeps=("jwt",)),
    Service(
        "element_call",
        "Element Call",
        ("call.element.io",),
        (Shape(r"/room", Kind.ROOM, fragment=r"/.+"), _room()),
        _NAME,
    ),
    Service("proton_meet", "Proton Meet", ("meet.proton.me",), (Shape(r"/join/id-\w+", fragment=r"pwd-\w+"),), _NAME),
    Service(
        "ovice", "oVice", ("ovice.in", "ovice.com"), (Shape(r"/lobby/[\w-]+", Kind.ROOM), _room(r"/@[\w,]+")), _NAME
    ),
    Service("pop", "Pop", ("pop.com",), (Shape(r"/j/[\d-]+"),), _NAME),
    Service("gong", "Gong", ("join.gong.io",), (Shape(r"/[\w.-]+/[\w./-]+", Kind.ROOM),), _NAME),
    Service("pumble", "Pumble", ("meet.pumble.com",), (Shape(rf"/{_WORD}"),), _NAME),
    Service("coscreen", "CoScreen", ("join.coscreen.co",), (Shape(r"/[\w-]+(?:/[\w-]+)?"),), _APP),
    Service("zhumu", "Zhumu", ("zhumu.com",), (Shape(r"/j/\d+"),), _CODE_IN_LINK, keeps=("pwd",)),
    Service("vk_calls", "VK Calls", ("vk.com", "vk.ru"), (Shape(r"/call/join/[\w-]+"),), _NAME),
    Service(
        "salute_jazz",
        "SaluteJazz",
        ("jazz.sber.ru", "salutejazz.ru"),
        (Shape(r"/(?:\w+/)?[a-z0-9]{6,}"),),
        _CODE_IN_LINK,
        keeps=("psw",),
    ),
    Service("ktalk", "Kontur Talk", ("ktalk.ru",), (_room(r"/[\w-]+", (".ktalk.ru",)),), _NAME, keeps=("pinCode",)),
    Service("mts_link", "MTS Link", ("mts-link.ru", "events.webinar.ru"), (Shape(r"/j/\w+/\w+(?:/\w+)*"),), _NAME),
    Service(
        "clickmeeting", "ClickMeeting", ("clickmeeting.com",), (_room(r"/[\w-]+", (".clickmeeting.com",)),), _ASKED_CODE
    ),
    Service("airmeet", "Airmeet", ("airmeet.com",), (Shape(rf"/(?:e|event)/{_GUID}", Kind.DETOUR),), _ACCOUNT),
    Service("remo", "Remo", ("live.remo.co",), (Shape(r"/e/[\w-]+", Kind.DETOUR),), _ACCOUNT),
    Service("crowdcast", "Crowdcast", ("crowdcast.io",), (Shape(r"/[ec]/[\w-]+", Kind.DETOUR),), _ACCOUNT),
    Service(
        "spatial_chat", "SpatialChat", ("spatial.chat",), (Shape(r"/s/[\w-]+", Kind.ROOM),), _NAME, keeps=("room",)
    ),
    Service("jam", "Jam", ("jam.systems",), (_room(r"/[\w-]+"),), _NAME),
    Service("teemyco", "Teemyco", ("app.teemyco.com",), (Shape(r"/room/[\w/-]+", Kind.ROOM),), _ACCOUNT),
    Service("avaya_spaces", "Avaya Spaces", ("spaces.avayacloud.com",), (Shape(r"/spaces/(?:invite/)?\w+"),), _NAME),
    Service("fuze", "Fuze", ("fuze.me",), (Shape(rf"/{_NUMBER}"),), _NAME),
    Service("highfive", "Highfive", ("highfive.com",), (_room(r"/[\w.-]+", (".highfive.com",)),), _NAME),
    Service("freeconferencecall", "FreeConferenceCall", ("join.freeconferencecall.com",), (_room(r"/[\w.-]+"),), _NAME),
    Service("anymeeting", "AnyMeeting", ("meet.intermedia.com", "anymeeting.com"), (_room(r"/[\w.-]+"),), _ASKED_CODE),
    Service("roam", "Roam", ("ro.am",), (Shape(r"/r", fragment=r"/.+"),), _NAME),
    # Everybody's is their own: only a setting says where it is.
    Service(
        "bigbluebutton",
        "BigBlueButton",
        (),
        (Shape(r"/(?:b|rooms)/[\w-]+(?:/join)?", Kind.ROOM), Shape(r"/bigbluebutton/api/join", needs=("meetingID",))),
        _ASKED_CODE,
        keeps=("meetingID", "fullName", "password", "role", "checksum"),
    ),
    Service("nextcloud_talk", "Nextcloud Talk", (), (Shape(r"(?:/index\.php)?/call/\w+", Kind.ROOM),), _ASKED_CODE),
    Service("trueconf", "TrueConf", (), (Shape(r"/c/[\w.%@-]+", Kind.ROOM),), _NAME),
    Service("sandbox", "the sandbox's rooms", (), (Shape(r"/rooms/[A-Za-z0-9-]+"),), _NAME),
)
