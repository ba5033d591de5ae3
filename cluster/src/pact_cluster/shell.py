"""The one place where programs are started."""

import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pact_cluster.errors import CommandFailedError

# Debian keeps iptables, dockerd and ip where an ordinary user's PATH does not look.
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def base_environment() -> dict[str, str]:
    """The process environment with the system's program folders at the end of PATH."""
    environment = dict(os.environ)
    environment["PATH"] = f"{environment.get('PATH', '')}:{_SYSTEM_FOLDERS}".strip(":")
    return environment


def which(program: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """The program's path as `run` would find it, or None."""
    found = shutil.which(program, path=(environment or base_environment()).get("PATH"))
    return Path(found) if found else None


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end.

    Returns:
        Its standard output.

    Raises:
        CommandFailedError: It is missing, failed or ran longer than `timeout` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, never a shell line
            words,
            env=dict(environment or base_environment()),
            cwd=folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandFailedError(words, 127, f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(words, None, _text(error.stderr)) from error
    if done.returncode != 0:
        raise CommandFailedError(words, done.returncode, done.stderr or done.stdout)
    return done.stdout


def succeeds(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, timeout: float = 30
) -> bool:
    """Whether the program runs and ends with exit code 0 within `timeout` seconds."""
    try:
        run(command, environment=environment, timeout=timeout)
    except CommandFailedError:
        return False
    return True


def stream(
    command: Sequence[str | Path],
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    log: Path | None = None,
) -> None:
    """Run a program to its end and hand on each line that it writes as it comes.

    Args:
        command: The program and its arguments.
        on_line: Called with each line of standard output and standard error, without its end.
        environment: The whole environment of the program.
        folder: Where it runs.
        log: A file that the lines are added to.

    Raises:
        CommandFailedError: It is missing or failed; carries the last 40 lines.
    """
    words = [str(word) for word in command]
    last: deque[str] = deque(maxlen=40)
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of words, never a shell line
            words,
            env=dict(environment or base_environment()),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise CommandFailedError(words, 127, f"{words[0]} is not installed") from error
    sink = log.open("a") if log else None
    try:
        for line in process.stdout or ():
            last.append(line.rstrip("\n"))
            if sink:
                sink.write(line)
            on_line(last[-1])
        code = process.wait()
    finally:
        if sink:
            sink.close()
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code != 0:
        raise CommandFailedError(words, code, "\n".join(last))


def pipe(
    source: Sequence[str | Path],
    sink: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run `source | sink`.

    Returns:
        Standard output of `sink`.

    Raises:
        CommandFailedError: Either of them failed.
    """
    first = [str(word) for word in source]
    second = [str(word) for word in sink]
    env = dict(environment or base_environment())
    with (
        subprocess.Popen(first, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as producer,  # noqa: S603
        subprocess.Popen(  # noqa: S603
            second, env=env, stdin=producer.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as consumer,
    ):
        complaints: list[bytes] = []
        reader = threading.Thread(target=lambda: complaints.append(producer.stderr.read() if producer.stderr else b""))
        reader.start()
        if producer.stdout:
            producer.stdout.close()
        output, trouble = consumer.communicate()
        reader.join()
        producer.wait()
    if consumer.returncode != 0:
        raise CommandFailedError(second, consumer.returncode, trouble)
    if producer.returncode != 0:
        raise CommandFailedError(first, producer.returncode, _text(complaints[0]))
    return output


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
