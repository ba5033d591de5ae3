"""The loop of the examples without a broker: tests write pacts, running providers are verified with them.

The patches of the demo are applied to copies of the tree, so a change that makes one of them stale, or that
takes its effect away, fails here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pact import Verifier

REPOSITORY = Path(__file__).parents[3]
EXPECTS_EMAIL = REPOSITORY / "jobs/consumer/demo/expects-email.patch"
SERVES_EMAIL = REPOSITORY / "services/fastapi_provider/demo/serves-email.patch"
FLASK, FASTAPI = "flask-provider", "fastapi-provider"
BASE, EXPECTING, SERVING = "base", "consumer expects email", "provider serves email"

# A provider that never says where it listens must not hold up the run.
pytestmark = pytest.mark.timeout(100)

Verify = Callable[[str, str, str], list[str]]


@dataclass(frozen=True)
class Trees:
    """Folders that look like the repository; the patched ones are copies."""

    base: Path
    expecting: Path
    serving: Path


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    return Trees(
        base=REPOSITORY,
        expecting=_patched(tmp_path_factory.mktemp("expecting"), EXPECTS_EMAIL),
        serving=_patched(tmp_path_factory.mktemp("serving"), SERVES_EMAIL),
    )


def _patched(tree: Path, patch: Path) -> Path:
    for part in ("jobs/consumer", "services/flask_provider", "services/fastapi_provider"):
        shutil.copytree(REPOSITORY / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    # Not in a repository: git apply then works on the files of the current folder.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    applied = subprocess.run(
        ["git", "apply", "--verbose", str(patch)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
    return tree


def _environment(tree: Path, part: str, **more: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(tree / part / "src"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PACT_DO_NOT_TRACK": "true",
        **more,
    }


def _run_tests(tree: Path, part: str, tests: str = "tests", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib"),
            f"--rootdir={tree / part}",
            str(tree / part / tests),
        ],
        env=_environment(tree, part, **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def _write_pacts(tree: Path, directory: Path) -> Path:
    run = _run_tests(tree, "jobs/consumer", "tests/contract", PACT_DIR=str(directory))
    assert run.returncode == 0, run.stdout + run.stderr
    return directory


@pytest.fixture(scope="module")
def pacts(trees: Trees, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the pacts that the consumer's tests wrote."""
    return {
        BASE: _write_pacts(trees.base, tmp_path_factory.mktemp("pacts")),
        EXPECTING: _write_pacts(trees.expecting, tmp_path_factory.mktemp("pacts")),
    }


@contextmanager
def _running(tree: Path, package: str) -> Iterator[int]:
    """Run a provider as its image does and yield its port."""
    part = f"services/{package}"
    environment = _environment(tree, part, PACT_PROVIDER_STATES="enabled", HOST="127.0.0.1", PORT="0")
    command = [sys.executable, "-m", package]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            log = ""
            for line in process.stdout:
                log += line
                if listening := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield int(listening[1])
                    break
            else:
                pytest.fail(f"{package} ended before it listened:\n{log}")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def ports(trees: Trees) -> Iterator[dict[tuple[str, str], int]]:
    """Ports of the running providers."""
    with (
        _running(trees.base, "flask_provider") as flask,
        _running(trees.base, "fastapi_provider") as fastapi,
        _running(trees.serving, "fastapi_provider") as serving,
    ):
        yield {(FLASK, BASE): flask, (FASTAPI, BASE): fastapi, (FASTAPI, SERVING): serving}


@pytest.fixture
def verify(pacts: dict[str, Path], ports: dict[tuple[str, str], int]) -> Verify:
    def verify(pact: str, provider: str, variant: str) -> list[str]:
        """Verify a provider with a pact; returns the interactions that failed, each with its mismatches."""
        port = ports[provider, variant]
        verifier = (
            Verifier(provider, host="127.0.0.1")
            .add_transport(url=f"http://127.0.0.1:{port}")
            .add_transport(protocol="message", port=port, path="/_pact/messages", scheme="http")
            .state_handler(f"http://127.0.0.1:{port}/_pact/provider_states", teardown=True, body=True)
            .add_source(pacts[pact] / f"users-consumer-{provider}.json")
        )
        try:
            verifier.verify()
        except RuntimeError:
            failures = [f"{error['interaction']}: {error['mismatch']}" for error in verifier.results["errors"]]
            assert failures, verifier.output(strip_ansi=True)
            return failures
        # Verifying nothing passes as well.
        assert verifier.results["interactionResults"]
        return []

    return verify


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "pacts").write_text("a file, not a folder")

    run = _run_tests(REPOSITORY, "jobs/consumer", "tests/contract", PACT_DIR=str(tmp_path / "pacts"))

    assert run.returncode == 2
    assert "mount a volume there" in run.stdout


def test_pacts_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    old = tmp_path / "users-consumer-retired-provider.json"
    other = tmp_path / "another-consumer-flask-provider.json"
    for path in (old, other):
        path.write_text("{}")

    _write_pacts(REPOSITORY, tmp_path)

    assert not old.exists()
    assert other.exists()


def test_one_pact_for_each_pair(pacts: dict[str, Path]) -> None:
    files = {path.name: json.loads(path.read_text()) for path in pacts[BASE].iterdir()}

    assert set(files) == {"users-consumer-flask-provider.json", "users-consumer-fastapi-provider.json"}
    types = {name: [interaction["type"] for interaction in pact["interactions"]] for name, pact in files.items()}
    http, message = "Synchronous/HTTP", "Asynchronous/Messages"
    assert sorted(types["users-consumer-flask-provider.json"]) == [http] * 5
    assert sorted(types["users-consumer-fastapi-provider.json"]) == [message] + [http] * 5
    assert {pact["metadata"]["pactSpecification"]["version"] for pact in files.values()} == {"4.0"}


@pytest.mark.parametrize("provider", [FLASK, FASTAPI])
def test_the_providers_keep_the_pacts(verify: Verify, provider: str) -> None:
    assert verify(BASE, provider, BASE) == []


@pytest.mark.parametrize("provider", [FLASK, FASTAPI])
def test_a_consumer_that_expects_email_is_served_by_no_provider(verify: Verify, provider: str) -> None:
    failures = verify(EXPECTING, provider, BASE)

    # One interaction, the one that changed, and for the one reason that was meant.
    assert len(failures) == 1
    assert "user 123 exists - a request for user 123" in failures[0]
    assert "Actual map is missing the following keys: email" in failures[0]


def test_a_provider_that_serves_email_keeps_both_pacts(verify: Verify) -> None:
    assert verify(EXPECTING, FASTAPI, SERVING) == []
    assert verify(BASE, FASTAPI, SERVING) == []


def test_a_provider_that_serves_email_passes_its_own_tests(trees: Trees) -> None:
    run = _run_tests(trees.serving, "services/fastapi_provider")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("package", ["flask_provider", "fastapi_provider"])
def test_a_provider_ends_when_told_to(trees: Trees, package: str) -> None:
    with _running(trees.base, package):
        pass  # Leaving waits for the process; pytest's own time limit is the judge.


@pytest.mark.parametrize("package", ["flask_provider", "fastapi_provider"])
@pytest.mark.parametrize(
    ("port", "sentence"), [("http", "PORT must be a number"), ("taken", "Set HOST and PORT to a free address")]
)
def test_a_port_that_cannot_be_used_is_refused_with_a_sentence(
    trees: Trees, ports: dict[tuple[str, str], int], package: str, port: str, sentence: str
) -> None:
    port = str(ports[FLASK, BASE]) if port == "taken" else port
    environment = _environment(trees.base, f"services/{package}", HOST="127.0.0.1", PORT=port)

    run = subprocess.run([sys.executable, "-m", package], env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 2
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
