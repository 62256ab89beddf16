"""A bot's life: every report in every state, as the contract's table has it."""

import itertools
from datetime import timedelta

import pytest

from attendee.bots.lifecycle import Life, after, longest_silence, moved
from attendee.model import FINISHED_BOT_STATES, BotEventType, BotState, RecordingState, TranscriptionState

_HEARTBEAT = timedelta(minutes=2)
_JOINED = (
    "joined_not_recording",
    "joined_recording",
    "joined_recording_paused",
    "joined_recording_permission_denied",
)
_BREAKOUT = ("joining_breakout_room", "leaving_breakout_room")
# Copied from the contract row by row: report, from, to ("back" is how it was before the breakout room).
_CONTRACT = [
    ("join_requested", ("ready", "staged", "joining"), "joining"),
    ("put_in_waiting_room", ("joining",), "waiting_room"),
    ("joined_meeting", ("joining", "waiting_room"), "joined_not_recording"),
    (
        "recording_permission_granted",
        ("joined_not_recording", "joined_recording_permission_denied"),
        "joined_recording",
    ),
    ("recording_permission_denied", _JOINED, "joined_recording_permission_denied"),
    ("began_joining_breakout_room", _JOINED + _BREAKOUT, "joining_breakout_room"),
    ("joined_breakout_room", _JOINED + _BREAKOUT, "back"),
    ("began_leaving_breakout_room", _JOINED + _BREAKOUT, "leaving_breakout_room"),
    ("left_breakout_room", _JOINED + _BREAKOUT, "back"),
    ("recording_paused", ("joined_recording",), "joined_recording_paused"),
    ("recording_resumed", ("joined_recording_paused",), "joined_recording"),
    ("leave_requested", ("joining", "waiting_room", *_JOINED), "leaving"),
    ("left_meeting", ("leaving",), "post_processing"),
    ("meeting_ended", ("joining", "waiting_room", *_JOINED, "leaving"), "post_processing"),
    ("could_not_join_meeting", ("joining", "waiting_room"), "fatal_error"),
    ("fatal_error", tuple(state.value for state in BotState if state not in FINISHED_BOT_STATES), "fatal_error"),
    ("post_processing_completed", ("post_processing",), "ended"),
    ("data_deleted", ("ended", "fatal_error"), "data_deleted"),
]


def _life(state: BotState, joined_as: BotState | None = None) -> Life:
    return Life(state, joined_as, RecordingState.NOT_STARTED, TranscriptionState.NOT_STARTED)


@pytest.mark.parametrize(("event", "state"), list(itertools.product(BotEventType, BotState)))
def test_a_report_does_what_the_contract_says_and_nothing_else(event: BotEventType, state: BotState) -> None:
    """What the table does not have is impossible."""
    before = state if state.value in _JOINED else BotState.JOINED_RECORDING
    rows = [to for report, allowed, to in _CONTRACT if report == event and state.value in allowed]
    to = after(_life(state, before), event)
    if not rows:
        assert to is None
    else:
        assert to is not None
        assert to.state == (before if rows[0] == "back" else rows[0])


def test_a_bot_comes_back_from_a_breakout_room_as_it_went() -> None:
    """Recording goes on where it was going on, also over two rooms."""
    life = _life(BotState.JOINING)
    for event in (
        BotEventType.JOINED_MEETING,
        BotEventType.RECORDING_PERMISSION_GRANTED,
        BotEventType.BEGAN_JOINING_BREAKOUT_ROOM,
        BotEventType.JOINED_BREAKOUT_ROOM,
        BotEventType.BEGAN_LEAVING_BREAKOUT_ROOM,
        BotEventType.LEFT_BREAKOUT_ROOM,
    ):
        step = after(life, event)
        assert step is not None
        life = step
    assert life.state is BotState.JOINED_RECORDING
    assert life.recording is RecordingState.IN_PROGRESS


@pytest.mark.parametrize(
    ("events", "recording", "transcription"),
    [
        ("joined_meeting meeting_ended post_processing_completed", "not_started", "not_started"),
        ("joined_meeting recording_permission_granted", "in_progress", "in_progress"),
        ("joined_meeting recording_permission_granted recording_paused", "paused", "in_progress"),
        (
            "joined_meeting recording_permission_granted recording_paused recording_resumed",
            "in_progress",
            "in_progress",
        ),
        ("joined_meeting recording_permission_denied", "not_started", "not_started"),
        ("joined_meeting recording_permission_granted recording_permission_denied", "paused", "in_progress"),
        ("joined_meeting recording_permission_granted meeting_ended", "complete", "in_progress"),
        ("joined_meeting recording_permission_granted leave_requested left_meeting", "complete", "in_progress"),
        (
            "joined_meeting recording_permission_granted meeting_ended post_processing_completed",
            "complete",
            "complete",
        ),
        ("joined_meeting recording_permission_granted fatal_error", "failed", "failed"),
        ("joined_meeting recording_permission_granted meeting_ended fatal_error", "complete", "failed"),
        ("could_not_join_meeting data_deleted", "not_started", "not_started"),
    ],
)
def test_recording_and_transcription_follow(events: str, recording: str, transcription: str) -> None:
    """What was recorded when the meeting ended is kept; what a fault cut off has failed."""
    life = _life(BotState.JOINING)
    for event in events.split():
        step = after(life, BotEventType(event))
        assert step is not None, event
        life = step
    assert (life.recording, life.transcription) == (recording, transcription)


@pytest.mark.parametrize("state", BotState)
def test_a_bot_may_be_silent_as_long_as_its_state_allows(state: BotState) -> None:
    """In a meeting for a heartbeat; on the way and afterwards longer; what waits or has ended owes nothing."""
    allowed = longest_silence(state, heartbeat=_HEARTBEAT)
    if state.value in (*_JOINED, *_BREAKOUT, "leaving"):
        assert allowed == _HEARTBEAT
    elif state in {BotState.JOINING, BotState.WAITING_ROOM, BotState.POST_PROCESSING}:
        assert allowed is not None
        assert allowed > _HEARTBEAT
    else:
        assert allowed is None


def test_a_move_that_is_ours_keeps_what_was_recorded() -> None:
    """A leave asked for over the API ends no recording; leaving does."""
    life = moved(_life(BotState.JOINED_NOT_RECORDING), BotState.JOINED_RECORDING)
    assert moved(life, BotState.LEAVING).recording is RecordingState.IN_PROGRESS
