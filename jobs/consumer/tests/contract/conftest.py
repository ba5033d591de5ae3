"""Where the pacts go, and the names of the two sides."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pact import Pact

# Pact's library reports usage to the internet unless told not to.
os.environ.setdefault("PACT_DO_NOT_TRACK", "true")

CONSUMER = "users-consumer"
PROVIDERS = ["flask-provider", "fastapi-provider"]


@pytest.fixture(scope="session")
def pact_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pact files: `PACT_DIR` in a Job, a temporary one on a developer's machine."""
    directory = Path(os.environ.get("PACT_DIR") or tmp_path_factory.mktemp("pacts"))
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        pytest.exit(f"PACT_DIR={directory} cannot be written to: mount a volume there or name another folder.", 2)
    # Every test adds its interaction to its pair's file. What an earlier run left would stay in it for ever.
    for old in directory.glob(f"{CONSUMER}-*.json"):
        old.unlink()
    return directory


@pytest.fixture(params=PROVIDERS)
def pact(request: pytest.FixtureRequest, pact_dir: Path) -> Iterator[Pact]:
    """A pact between this consumer and one provider; what the test adds is written when it has ended.

    A pact of a failed test is written too, but never published: pytest's exit code stops the Job before.
    """
    pact = Pact(CONSUMER, request.param).with_specification("V4")
    yield pact
    pact.write_file(pact_dir)
