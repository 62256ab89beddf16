"""What is wrong with a calendar, in plain words, and what to do about it."""

from dataclasses import dataclass

from attendee.model import DisconnectCode


@dataclass(frozen=True, slots=True)
class Cure:
    """`trouble` is one sentence for a person; `cure` says who has to do what."""

    trouble: str
    cure: str


_CONSENT_AGAIN = (
    "Send the user through your consent page once more and PATCH the calendar with the new refresh token; "
    "it syncs at once."
)

CURES: dict[str, Cure] = {
    DisconnectCode.CONSENT_REVOKED: Cure(
        "The user, or an admin of theirs, has withdrawn the access that they gave.",
        f"Ask the user whether that was meant. If not: {_CONSENT_AGAIN[0].lower()}{_CONSENT_AGAIN[1:]}",
    ),
    DisconnectCode.REAUTH_REQUIRED: Cure(
        "The platform wants the user to sign in again: a password was changed, a session rule of the organisation "
        "ended the access, or the refresh token is too old.",
        f"{_CONSENT_AGAIN} At Google, refresh tokens of an app that is still in testing live for 7 days.",
    ),
    DisconnectCode.SCOPE_MISSING: Cure(
        "The user did not allow everything that reading a calendar takes.",
        "Ask for consent again with the calendar's scope (Google: calendar.readonly, Microsoft: Calendars.Read and "
        "offline_access), see to it that the box is ticked, and PATCH the calendar with the new refresh token.",
    ),
    DisconnectCode.ACCOUNT_GONE: Cure(
        "The account is gone at the platform.",
        "Nothing brings it back here. Delete the calendar; a new account is connected as a new calendar.",
    ),
    DisconnectCode.MAILBOX_UNAVAILABLE: Cure(
        "The account has no mailbox that can be read: it is not licensed, not at Exchange Online, or put on hold.",
        "An admin of the user's organisation has to give the account a mailbox. Then press “Sync now”.",
    ),
    DisconnectCode.CALENDAR_NOT_FOUND: Cure(
        "The account is there, but not the calendar that platform_uuid names.",
        "Connect another of the user's calendars: GET /calendars/{id}/platform_calendars lists those that there were.",
    ),
    DisconnectCode.BLOCKED_BY_ADMIN: Cure(
        "An admin of the user's organisation does not let your app in.",
        "Their admin has to allow the app (Google: API controls; Microsoft: enterprise applications and conditional "
        "access). Then send the user through consent again, or press “Sync now”.",
    ),
    DisconnectCode.CLIENT_INVALID: Cure(
        "The platform does not know the OAuth client, or its secret is wrong or out of date.",
        "Compare client_id and client_secret with those in the platform's console, and PATCH the calendar with the "
        "right secret. A refresh token works only with the client that it was made for.",
    ),
}

UNKNOWN = Cure("The platform lets us read the calendar no longer.", _CONSENT_AGAIN)
PASSING = "It is tried again by itself, for as long as it takes; the bots stay as they are meanwhile."
PASSING_OFTEN = (
    "It has failed many times in a row. If other calendars of the same OAuth client fail too, look at the client in "
    "the platform's console: an expired secret or a switched-off API shows like this."
)
CLIENT = (
    "One fault, and not its users': look at the client's secret and APIs in the platform's console. A new secret is "
    "set by PATCH on the calendars. Those that have synced before are tried every hour, and keep their events and bots."
)
NO_PUSH = "Changes are found by polling until then; nothing is lost, it only takes longer."
