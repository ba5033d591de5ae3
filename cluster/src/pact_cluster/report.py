"""Progress: live on a terminal, plain lines anywhere else."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.status import Status

# Without a terminal a long step says this often that it still lives.
_HEARTBEAT_SECONDS = 30.0


class Step:
    """One running step; its detail may be changed while it runs (from any thread)."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.detail = ""

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def update(self, detail: str) -> None:
        """Say what the step is doing right now."""
        self.detail = detail

    def line(self) -> str:
        """The step as one line."""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.title}{detail} ({self.seconds:.0f} s)"


class Reporter:
    """Tells a person what happens.

    Args:
        stream: Where to write; standard error by default, so that output can be piped.
        quiet: Say nothing but failures.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._live_line = threading.Lock()
        self.timings: list[tuple[str, float]] = []

    @property
    def live(self) -> bool:
        """Whether a terminal watches."""
        return self._console.is_terminal and not self._quiet

    def say(self, text: str) -> None:
        """Write one line."""
        if not self._quiet:
            self._console.print(text, markup=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Announce a step, keep showing that it runs, say how long it took.

        Args:
            title: What is being done, as a phrase: `Building kubectl`.

        Yields:
            The step; call `update` on it.
        """
        step = Step(title)
        ended = threading.Event()
        # One live line at a time: of steps that run side by side the first has it, the others end as plain lines.
        first = self._live_line.acquire(blocking=False)
        status = Status(step.line(), console=self._console, refresh_per_second=8) if self.live and first else None
        if first and status is None:
            self._live_line.release()
        watcher = threading.Thread(target=self._watch, args=(step, status, ended), daemon=True)
        if status:
            status.start()
        watcher.start()
        try:
            yield step
        except BaseException:
            self._end(watcher, ended, status)
            self._console.print(f"failed  {step.line()}", markup=False)
            raise
        self._end(watcher, ended, status)
        self.timings.append((title, step.seconds))
        self.say(f"done    {step.title} ({step.seconds:.1f} s)")

    def _end(self, watcher: threading.Thread, ended: threading.Event, status: Status | None) -> None:
        ended.set()
        watcher.join()
        if status:
            status.stop()
            self._live_line.release()

    def _watch(self, step: Step, status: Status | None, ended: threading.Event) -> None:
        interval = 0.25 if status else _HEARTBEAT_SECONDS
        while not ended.wait(interval):
            if status:
                status.update(step.line().replace("[", r"\["))
            else:
                self.say(f"...     {step.line()}")
