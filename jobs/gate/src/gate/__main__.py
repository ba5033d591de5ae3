"""`python -m gate`: settings from the environment, the answer as exit code, termination message and log."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests

from gate.answer import EXIT_CODES, Answer, no_answer
from gate.ask import wait
from gate.screen import progress, termination, verdict
from gate.settings import Question, SettingsError, parse_settings, termination_path


class _Stopped(BaseException):
    """SIGTERM: process 1 of a container has to say for itself how it ends."""


def _stop(_signum: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: what follows is the last thing that is said.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def main(env: Mapping[str, str]) -> int:
    """Ask, and wait for the answer.

    Returns:
        0 allowed, 1 refused, 2 nothing to check, 75 cannot tell.
    """
    try:
        settings = parse_settings(env)
    except SettingsError as error:
        return _finish(None, no_answer(str(error), "Set it in the environment of this Job.", retry=False), env)
    last = ""

    def tell(seconds: float, answer: Answer) -> None:
        nonlocal last
        line = f"{answer.verdict}: {answer.message}"
        changed, last = line != last, line
        # The final answer is told at the end, with everything around it.
        if changed and not answer.final:
            _say(progress(seconds, answer))

    signal.signal(signal.SIGTERM, _stop)
    try:
        _say(f"{settings.question} Asking {settings.url}, for at most {settings.timeout:g} s.")
        with requests.Session() as session:
            answer = wait(settings, session, tell)
    except _Stopped:
        text = f"Stopped from outside before there was a final answer; the last one: {last or 'none'}"
        answer = no_answer(text, "Give the Job more time, or find out who stopped it.", retry=True)
    return _finish(settings.question, answer, env)


def _say(line: str) -> None:
    print(line, flush=True)


def _finish(question: Question | None, answer: Answer, env: Mapping[str, str]) -> int:
    try:
        Path(termination_path(env)).write_bytes(termination(question, answer))
    except OSError as error:
        _say(f"warning: the termination message cannot be written: {error}")
    if question is None:
        _say(f"CANNOT TELL: {answer.message} {answer.next_step}")
    else:
        sys.stdout.write(verdict(question, answer))
    sys.stdout.flush()
    return EXIT_CODES[answer.outcome]


if __name__ == "__main__":
    sys.exit(main(os.environ))
