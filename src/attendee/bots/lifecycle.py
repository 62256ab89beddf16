"""A bot's life as one table: (state, reported event) → state, and what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from attendee.model import FINISHED_BOT_STATES, BotEventType, BotState, RecordingState, TranscriptionState

ON_THE_WAY = frozenset({BotState.JOINING, BotState.WAITING_ROOM})
JOINED = frozenset(
    {
        BotState.JOINED_NOT_RECORDING,
        BotState.JOINED_RECORDING,
        BotState.JOINED_RECORDING_PAUSED,
        BotState.JOINED_RECORDING_PERMISSION_DENIED,
    }
)
BREAKOUT = frozenset({BotState.JOINING_BREAKOUT_ROOM, BotState.LEAVING_BREAKOUT_ROOM})
# While it is on its way or in a meeting, a bot can be asked to leave.
CAN_LEAVE = ON_THE_WAY | JOINED | BREAKOUT
# A bot that waits for its time goes with its event; one further on is let be.
WAITING = frozenset({BotState.SCHEDULED, BotState.STAGED})
_UNFINISHED = frozenset(BotState) - FINISHED_BOT_STATES

_LONGEST_WAY = timedelta(hours=1)
_LONGEST_PROCESSING = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Life:
    """Where a bot is in its life. `joined_as` is how it was in the meeting last, None before it has joined."""

    state: BotState
    joined_as: BotState | None
    recording: RecordingState
    transcription: TranscriptionState


# Marks the way back from a breakout room, to how the bot was in the meeting before.
_BACK = None

_STEPS: Mapping[BotEventType, tuple[frozenset[BotState], BotState | None]] = {
    BotEventType.JOIN_REQUESTED: (
        frozenset({BotState.READY, BotState.STAGED, BotState.JOINING}),
        BotState.JOINING,
    ),
    BotEventType.PUT_IN_WAITING_ROOM: (frozenset({BotState.JOINING}), BotState.WAITING_ROOM),
    BotEventType.JOINED_MEETING: (ON_THE_WAY, BotState.JOINED_NOT_RECORDING),
    BotEventType.RECORDING_PERMISSION_GRANTED: (
        frozenset({BotState.JOINED_NOT_RECORDING, BotState.JOINED_RECORDING_PERMISSION_DENIED}),
        BotState.JOINED_RECORDING,
    ),
    BotEventType.RECORDING_PERMISSION_DENIED: (JOINED, BotState.JOINED_RECORDING_PERMISSION_DENIED),
    BotEventType.RECORDING_PAUSED: (frozenset({BotState.JOINED_RECORDING}), BotState.JOINED_RECORDING_PAUSED),
    BotEventType.RECORDING_RESUMED: (frozenset({BotState.JOINED_RECORDING_PAUSED}), BotState.JOINED_RECORDING),
    BotEventType.BEGAN_JOINING_BREAKOUT_ROOM: (JOINED | BREAKOUT, BotState.JOINING_BREAKOUT_ROOM),
    BotEventType.JOINED_BREAKOUT_ROOM: (JOINED | BREAKOUT, _BACK),
    BotEventType.BEGAN_LEAVING_BREAKOUT_ROOM: (JOINED | BREAKOUT, BotState.LEAVING_BREAKOUT_ROOM),
    BotEventType.LEFT_BREAKOUT_ROOM: (JOINED | BREAKOUT, _BACK),
    BotEventType.LEAVE_REQUESTED: (ON_THE_WAY | JOINED, BotState.LEAVING),
    BotEventType.LEFT_MEETING: (frozenset({BotState.LEAVING}), BotState.POST_PROCESSING),
    BotEventType.MEETING_ENDED: (ON_THE_WAY | JOINED | {BotState.LEAVING}, BotState.POST_PROCESSING),
    BotEventType.COULD_NOT_JOIN_MEETING: (ON_THE_WAY, BotState.FATAL_ERROR),
    BotEventType.FATAL_ERROR: (_UNFINISHED, BotState.FATAL_ERROR),
    BotEventType.POST_PROCESSING_COMPLETED: (frozenset({BotState.POST_PROCESSING}), BotState.ENDED),
    BotEventType.DATA_DELETED: (frozenset({BotState.ENDED, BotState.FATAL_ERROR}), BotState.DATA_DELETED),
}


def after(life: Life, event: BotEventType) -> Life | None:
    """The life after the reported event; the same where nothing happens, None where the event is impossible."""
    allowed = _STEPS.get(event)
    if allowed is None or life.state not in allowed[0]:
        return None
    state = allowed[1]
    if state is _BACK:
        state = life.joined_as or BotState.JOINED_NOT_RECORDING
    return moved(life, state)


def moved(life: Life, state: BotState) -> Life:
    """The life in another state, its recording and transcription with it."""
    recording, transcription = _recorded(life, state)
    joined_as = state if state in JOINED else life.joined_as
    return replace(life, state=state, joined_as=joined_as, recording=recording, transcription=transcription)


def _recorded(life: Life, state: BotState) -> tuple[RecordingState, TranscriptionState]:
    recording, transcription = life.recording, life.transcription
    is_begun = recording in {RecordingState.IN_PROGRESS, RecordingState.PAUSED}
    match state:
        case BotState.JOINED_RECORDING:
            return RecordingState.IN_PROGRESS, TranscriptionState.IN_PROGRESS
        case BotState.JOINED_RECORDING_PAUSED | BotState.JOINED_RECORDING_PERMISSION_DENIED if is_begun:
            return RecordingState.PAUSED, transcription
        case BotState.POST_PROCESSING if is_begun:
            return RecordingState.COMPLETE, transcription
        case BotState.ENDED if transcription is TranscriptionState.IN_PROGRESS:
            return recording, TranscriptionState.COMPLETE
        case BotState.FATAL_ERROR:
            return (
                RecordingState.FAILED if is_begun else recording,
                TranscriptionState.FAILED if transcription is TranscriptionState.IN_PROGRESS else transcription,
            )
    return recording, transcription


def longest_silence(state: BotState, *, heartbeat: timedelta) -> timedelta | None:
    """How long a bot that has reported may say nothing before it is given up; None where nothing is expected.

    In a meeting that is `heartbeat`. On the way a bot may have to wait for its host, and processing takes its time.
    """
    if state in ON_THE_WAY:
        return _LONGEST_WAY
    if state in JOINED or state in BREAKOUT or state is BotState.LEAVING:
        return heartbeat
    return _LONGEST_PROCESSING if state is BotState.POST_PROCESSING else None
