"""Bots as processes of this machine: a command of the operator's, started once for each bot, in a session of its own.

They outlive a restart of ours. A bot's order is written before its process is started: where there is one, a start was
attempted, and the process is looked for, never started again.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import orjson
import psutil

from attendee.bots.runners.port import Done, Order, Placed, Refused, Seen, Taken, Trouble
from attendee.clock import Clock
from attendee.model import LaunchId

_OURS = "ATTENDEE_"
_MARK = "ATTENDEE_LAUNCH_ID"
# Linux takes 128 KiB for one variable.
_LONGEST_VARIABLE = 100_000
# A process that was killed is gone as soon as the system has come to it.
_KILLED_WITHIN = timedelta(seconds=5)
_BETWEEN_LOOKS = timedelta(milliseconds=50)
# The clock may have been set a little since a process was seen first.
_SAME_START_SECONDS = 1
_KEPT = timedelta(days=1)
_BETWEEN_SWEEPS = timedelta(hours=1)
# What a launch's reference is when there is no process of it any more, if there ever was one.
_NO_PROCESS: dict[str, Any] = {"pid": None}


class ProcessRunner:
    """Runs `command` on this machine, which is `host`, with `environment` less what is our own.

    Below `directory` each launch has a directory with its order and its log until a day after it has ended. `wake` is
    called when a process that we have started has ended. One that is called off has `grace` to end by itself.
    """

    look_every: ClassVar[timedelta] = timedelta(seconds=5)

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        host: str,
        environment: Mapping[str, str],
        wake: Callable[[LaunchId], Awaitable[None]],
        clock: Clock,
        grace: timedelta = timedelta(seconds=10),
    ) -> None:
        self.host = host
        self._command = list(command)
        self._directory = directory.absolute()
        self._inherited = {name: value for name, value in environment.items() if not name.upper().startswith(_OURS)}
        self._wake = wake
        self._clock = clock
        self._grace = grace
        # Held from the order to the start, so that nobody looks for a process that is about to be there.
        self._starting = threading.Lock()
        self._waking: set[asyncio.Future[None]] = set()
        self._swept_at: datetime | None = None

    async def stage(self, order: Order) -> Taken | Refused | Trouble:
        try:
            return await asyncio.to_thread(self._start_once, order, asyncio.get_running_loop())
        except OSError as failure:
            return Trouble(f"{self._directory} can't be written: {failure.strerror}")

    async def call_off(self, placed: Placed) -> Done | Trouble:
        try:
            process = await asyncio.to_thread(self._found_for_good, placed)
            if process is None:
                return Done()
            for signalled, within in ((signal.SIGTERM, self._grace), (signal.SIGKILL, _KILLED_WITHIN)):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signalled)
                if await _ends_within(process, within):
                    return Done()
        except OSError as failure:
            return Trouble(f"The bot's process can't be ended: {failure.strerror}")
        return Trouble(f"The bot's process {process.pid} does not end.")

    async def leave(self, placed: Placed) -> Done | Trouble:
        process = _find(placed.id, placed.reference)
        if process is not None:
            try:
                # The bot alone: what it has started, such as a browser, is needed for leaving.
                os.kill(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
            except OSError as failure:
                return Trouble(f"The bot's process can't be told to leave: {failure.strerror}")
        return Done()

    async def look(self, placed: Placed) -> Seen | Trouble:
        if _find(placed.id, placed.reference) is not None:
            return Seen(placed.reference)
        directory = self._directory / placed.id
        told = f"The bot's process {_ending(directory)} before it had reported how its meeting ended."
        return Seen(placed.reference, gone=("process_terminated", f"{told} What it said is in {directory / 'log'}."))

    def _start_once(self, order: Order, loop: asyncio.AbstractEventLoop) -> Taken | Trouble:
        with self._starting:
            self._sweep()
            path = self._begin(order.id, orjson.dumps(order.body, option=orjson.OPT_INDENT_2))
            if path is None:
                process = _find(order.id, None)
                return Taken(_NO_PROCESS if process is None else _reference(process))
            try:
                with (path.parent / "log").open("ab") as said:
                    child = subprocess.Popen(  # noqa: S603  # the operator's own command, run without a shell
                        self._command,
                        env=self._inherited | _described(order, path),
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            except (OSError, ValueError) as failure:
                # Nothing was started, and the operator may set it right while the meeting lasts.
                path.unlink()
                why = failure.strerror if isinstance(failure, OSError) else failure
                return Trouble(f"{self._command[0]} (ATTENDEE_BOT_RUNNER_COMMAND) can't be started: {why}")
            taken = Taken(_reference(psutil.Process(child.pid)))
        threading.Thread(target=self._wait_for, args=(child, order.id, loop), daemon=True).start()
        return taken

    def _begin(self, launch_id: LaunchId, order: bytes) -> Path | None:
        """Writes a launch's order, on which nobody can begin it again; None if it was begun before. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = self._directory / launch_id
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / "order.json"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return None
        with os.fdopen(descriptor, "wb") as file:
            try:
                file.write(order)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink()
                raise
        return path

    def _found_for_good(self, placed: Placed) -> psutil.Process | None:
        """A launch's process; with None, no try that is still under way starts one. Raises OSError."""
        with self._starting:
            if placed.reference is None:
                self._begin(placed.id, b"")
            return _find(placed.id, placed.reference)

    def _wait_for(self, child: subprocess.Popen[bytes], launch_id: LaunchId, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the end of a child, so that the system forgets it. Without us, the system does so by itself."""
        status = child.wait()
        with suppress(OSError):
            (self._directory / launch_id / "exit_status").write_text(str(status))
        # A loop that is closed has nobody left to tell.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._has_ended, launch_id)

    def _has_ended(self, launch_id: LaunchId) -> None:
        # It only makes a look sooner: that it fails is no harm.
        waking = asyncio.ensure_future(self._wake(launch_id))
        self._waking.add(waking)
        waking.add_done_callback(self._waking.discard)

    def _sweep(self) -> None:
        """Removes what launches have left that ended long ago."""
        now = self._clock()
        if self._swept_at is not None and now - self._swept_at < _BETWEEN_SWEEPS:
            return
        self._swept_at = now
        living = {_mark(process) for process in psutil.process_iter()}
        for directory in self._directory.glob("launch_*"):
            if directory.name not in living and directory.stat().st_mtime < (now - _KEPT).timestamp():
                shutil.rmtree(directory, ignore_errors=True)


def _described(order: Order, path: Path) -> dict[str, str]:
    """The order as variables. What of its settings is too large for one is in the file alone."""
    body = order.body
    settings = dict(body["settings"])
    for name in sorted(settings, key=lambda name: len(orjson.dumps(settings[name])), reverse=True):
        if len(orjson.dumps(settings)) <= _LONGEST_VARIABLE:
            break
        del settings[name]
    return {
        "ATTENDEE_BOT_ORDER": str(path),
        _MARK: order.id,
        "ATTENDEE_BOT_ID": body["bot_id"],
        "ATTENDEE_BOT_NAME": body["bot_name"],
        "ATTENDEE_MEETING_URL": body["meeting_url"],
        "ATTENDEE_JOIN_AT": body["join_at"],
        "ATTENDEE_BOT_SETTINGS": orjson.dumps(settings).decode(),
        "ATTENDEE_REPORT_URL": body["report_url"],
        "ATTENDEE_REPORT_TOKEN": body["report_token"],
    }


def _reference(process: psutil.Process) -> dict[str, Any]:
    return {"pid": process.pid, "started": process.create_time()}


def _find(launch_id: LaunchId, reference: dict[str, Any] | None) -> psutil.Process | None:
    """The process of a launch while it runs. Without a reference all processes are looked at."""
    if reference is None:
        return next((process for process in psutil.process_iter() if _is_of(process, launch_id, started=None)), None)
    try:
        process = psutil.Process(reference["pid"]) if reference["pid"] is not None else None
    except psutil.NoSuchProcess:
        return None
    return process if process is not None and _is_of(process, launch_id, started=reference["started"]) else None


def _is_of(process: psutil.Process, launch_id: LaunchId, *, started: float | None) -> bool:
    """Whether the process is the launch's own, and not one that came by its number later, or one that it started."""
    try:
        if os.getsid(process.pid) != process.pid or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if started is not None and abs(process.create_time() - started) < _SAME_START_SECONDS:
            return True
    except (psutil.Error, OSError):
        return False
    return _mark(process) == launch_id


def _mark(process: psutil.Process) -> str | None:
    """The launch that a process was started for, by its environment, unless it is another user's."""
    try:
        return process.environ().get(_MARK)
    except (psutil.Error, OSError):
        return None


async def _ends_within(process: psutil.Process, time: timedelta) -> bool:
    for _ in range(time // _BETWEEN_LOOKS + 1):
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        await asyncio.sleep(_BETWEEN_LOOKS / timedelta(seconds=1))
    return False


def _ending(directory: Path) -> str:
    """How a process has ended, as far as it is known: only who started it gets to know."""
    try:
        status = int((directory / "exit_status").read_text())
    except (OSError, ValueError):
        return "ended while the service was not there to see how, or never came up,"
    return f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
