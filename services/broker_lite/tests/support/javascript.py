"""The JavaScript verifier: the packages that its lock names, and a script that runs it."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).parent.parent / "javascript"
_MISSING = (
    "Node and npm are not installed on this machine: run 'apt-get install nodejs npm', or leave these tests out with "
    "-m 'not javascript'."
)


class Verifier:
    """The verifier, installed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, options: Mapping[str, Any]) -> tuple[bool, str]:
        """Verify; returns whether the run passed, and its log."""
        done = subprocess.run(
            ["node", "verify.js"],
            cwd=self._directory,
            env={**os.environ, "PACT_DO_NOT_TRACK": "true", "OPTIONS": json.dumps(options)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def installed() -> Iterator[Verifier]:
    """Install the packages for as long as the block lasts."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.fail(_MISSING, pytrace=False)
    with tempfile.TemporaryDirectory(prefix="broker-lite-js-") as temporary:
        directory = Path(temporary)
        for file in _SOURCE.iterdir():
            if file.is_file():
                shutil.copy(file, directory)
        # The native library is a package of its own for each platform: no install script has to run.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            pytest.fail(f"The JavaScript verifier cannot be installed: {done.stderr.strip()}", pytrace=False)
        yield Verifier(directory)
