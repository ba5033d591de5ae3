"""`python -m verifier`: settings from the environment, verdict as exit code, termination message and log."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from brokerclient.text import clean
from verifier.junit import junit_xml
from verifier.outcome import PactFacts, Problem, Reason, Verdict, decide, mark_not_verified
from verifier.report import log_text
from verifier.run import Progress, run
from verifier.settings import SettingsError, parse_settings, termination_path
from verifier.termination import render


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(f"{record.levelname.lower()}: {super().format(record)}", 1000)


def main(env: Mapping[str, str]) -> int:
    """Run once.

    Returns:
        0 passed, 1 contract broken, 2 nothing to verify, 75 infrastructure.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log = _log()
    progress = Progress()
    provider, version = env.get("PV_PROVIDER", ""), env.get("PV_PROVIDER_VERSION", "")
    try:
        settings = parse_settings(env)
    except SettingsError as error:
        problem = Problem(Reason.INVALID_CONFIGURATION, str(error))
        return _finish(decide(provider, version, (), problem=problem), env, log)

    def stop(_signum: int, _frame: FrameType | None) -> NoReturn:
        # Process 1 of a container has to say for itself how it ends; the worker may be deep inside the core.
        os._exit(_finish(_stopped(provider, version, progress), env, log))

    signal.signal(signal.SIGTERM, stop)
    verdicts: list[Verdict] = []

    def work() -> None:
        verdicts.append(run(settings, progress, _say))

    # The core does not return to Python while it verifies: only a thread of its own leaves this one free for signals.
    worker = threading.Thread(target=work, daemon=True, name="run")
    worker.start()
    worker.join()
    if verdicts:
        return _finish(verdicts[0], env, log)
    problem = Problem(Reason.RESULT_NOT_PUBLISHED, f"The verifier failed while {progress.stage}: see its log.")
    return _finish(_ended(provider, version, progress, problem), env, log)


def _stopped(provider: str, version: str, progress: Progress) -> Verdict:
    waiting = not any(fact.interactions for fact in progress.facts)
    reason = Reason.PROVIDER_NOT_READY if waiting else Reason.RESULT_NOT_PUBLISHED
    problem = Problem(reason, f"The verifier was stopped from outside while {progress.stage}.")
    return _ended(provider, version, progress, problem)


def _ended(provider: str, version: str, progress: Progress, problem: Problem) -> Verdict:
    # Nothing that was not confirmed counts: the next run starts anew.
    facts: list[PactFacts] = mark_not_verified(list(progress.facts), problem)
    return decide(provider, version, facts, problem=problem)


def _log() -> TextIO:
    """Take standard output for ourselves: the core writes a report to file descriptor 1 that would mix into ours."""
    ours = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    return os.fdopen(ours, "w", encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _finish(verdict: Verdict, env: Mapping[str, str], log: TextIO) -> int:
    try:
        Path(termination_path(env)).write_bytes(render(verdict))
    except OSError as error:
        _say(f"warning: the termination message cannot be written: {error}")
    if path := env.get("PV_JUNIT_FILE"):
        _write_junit(Path(path), verdict)
    log.write(log_text(verdict))
    log.flush()
    return verdict.exit_code


def _write_junit(path: Path, verdict: Verdict) -> None:
    """A report that cannot be written changes no verdict; one that is there is always whole."""
    try:
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_bytes(junit_xml(verdict))
        unfinished.replace(path)
    except OSError as error:
        _say(f"warning: the JUnit report cannot be written to {path}: {error.strerror or error}")


if __name__ == "__main__":
    code = main(os.environ)
    # Skips the interpreter's clean-up, which has nothing left to clean: every write is flushed.
    sys.stderr.flush()
    os._exit(code)
