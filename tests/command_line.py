"""The installed command as a process of its own, in a directory of its own, with nothing of our environment."""

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECONDS = 60


@dataclass
class CommandLine:
    """Runs `attendee` in `directory`; `settings` are its variables without their prefix."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The ended command: its status, what it printed, and its complaint."""
        return subprocess.run(
            [sys.executable, "-m", "attendee", *arguments],
            cwd=self.directory,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def document(self, *arguments: str) -> Any:
        """The one JSON document that a command with `--json` prints; nothing else may be said."""
        done = self.run(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def complaint(self, *arguments: str, status: int = 1, **settings: str) -> str:
        """The one line with which a command fails; it may print nothing."""
        done = self.run(*arguments, **settings)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert done.stderr.startswith("attendee: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix("attendee: ").rstrip("\n")

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Generator["Running"]:
        """A command that stays up, ended at the end whatever happens."""
        process = subprocess.Popen(
            [sys.executable, "-m", "attendee", *arguments],
            cwd=self.directory,
            env=self._environment(settings) | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with process:
            try:
                yield Running(process)
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(15)
                    finally:
                        process.kill()

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        ours = {f"ATTENDEE_{name}": value for name, value in (self.settings | settings).items()}
        return {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(self.directory)} | ours


@dataclass
class Running:
    """A command that is up."""

    process: subprocess.Popen[bytes]
    said: str = ""

    def hears(self, words: str) -> str:
        """All that the command has said once these words are among it."""
        assert self.process.stdout is not None, "the process was started with a pipe"
        deadline = time.monotonic() + _SECONDS
        while words not in self.said:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            heard = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert heard, f"{words!r} was not said, but: {self.said}"
            self.said += heard.decode()
        return self.said

    def address(self) -> str:
        """Where it says that it is up."""
        said = self.hears("Ctrl-C stops it.")
        return next(word for word in said.split() if word.startswith("http://")).rstrip(".")

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status; `said` is complete then."""
        self.process.send_signal(by)
        rest, _ = self.process.communicate(timeout=15)
        self.said += rest.decode()
        return self.process.returncode


def status_of(url: str, *, key: str | None = None) -> int:
    """The status of a GET."""
    request = urllib.request.Request(url, headers={} if key is None else {"Authorization": f"Token {key}"})  # noqa: S310  # addresses of our own
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # as above
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
