"""The pact command line, run as a pipeline runs it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FOUND = shutil.which("pact", path=str(Path(sys.executable).parent)) or shutil.which("pact")


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code, and all that it said."""

    code: int
    text: str


def pact(*arguments: str, environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Done:
    """Run ``pact`` with arguments."""
    assert _FOUND is not None, "the pact command line is not installed: pip install pact-python-cli"
    done = subprocess.run(
        [_FOUND, *arguments],
        env={**os.environ, "PACT_DO_NOT_TRACK": "true", "NO_COLOR": "1", **(environ or {})},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout + done.stderr)


def sub_commands(*group: str) -> list[str]:
    """The sub-commands of a group and of the groups in it, as the program itself lists them; ``help`` left out."""
    text = pact(*group, "--help").text
    _, separator, listed = text.partition("\nCommands:\n")
    if not separator:
        return [" ".join(group)]
    names = re.findall(r"^  ([a-z][\w-]*)", listed.partition("\n\n")[0], re.MULTILINE)
    return [one for name in names if name != "help" for one in sub_commands(*group, name)]
