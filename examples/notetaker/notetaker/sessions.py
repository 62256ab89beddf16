"""Who is asking: the session behind the cookie, and the token that every form of it must bring."""

import secrets
from typing import Annotated

from fastapi import Depends, Form, Request

from notetaker.office import Office
from notetaker.store import Session

SESSION_COOKIE = "session"


class NotSignedIn(Exception):
    """Nobody is signed in here, or a form was sent that this session did not make."""


def office_of(request: Request) -> Office:
    office: Office = request.app.state.office
    return office


def find_session(request: Request) -> Session | None:
    office = office_of(request)
    return office.store.find_session(request.cookies.get(SESSION_COOKIE, ""), now=office.now())


def _session_with_token(request: Request, csrf_token: Annotated[str, Form()] = "") -> Session:
    session = find_session(request)
    if session is None or not secrets.compare_digest(session.csrf_token.encode(), csrf_token.encode()):
        raise NotSignedIn
    return session


# For every route that changes something. Raises NotSignedIn.
SignedIn = Annotated[Session, Depends(_session_with_token)]
