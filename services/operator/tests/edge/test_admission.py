"""The admission webhook: in process, and its certificate over a real socket."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactProvider
from pact_operator.core.facts import GateRow, Matrix
from pact_operator.engine.reconciler import Reconciler
from pact_operator.handlers.admission import MAX_BODY, Certificate, create_admission_app
from services.operator.tests.core.test_admission import deployment, request
from services.operator.tests.edge.conftest import NS

BROKEN = Matrix(False, rows=(GateRow("web", "7", "users", "2", False, "a1", "http://b/1"),))
GOOD = Matrix(True, rows=(GateRow("web", "7", "users", "2", True, "a1", "http://b/1"),))


def asked(**changes: Any) -> dict[str, Any]:
    return request(**{"namespace": NS, "dryRun": False, **changes})


@pytest.fixture
def objects(world: Any) -> None:
    world.put(names.BROKER, "broker", {"url": "http://b", "environment": {"name": "production"}})
    template = {"spec": {"containers": [{"name": "app", "image": "users:{version}"}]}}
    world.put(
        names.PROVIDER,
        "users",
        {
            "brokerRef": {"name": "broker"},
            "pacticipant": "users",
            "version": {"fromWorkload": {"name": "web"}},
            "target": {"ephemeral": {"template": template, "port": 80}},
        },
    )


@pytest.fixture
async def http(world: Any, reconciler: Reconciler, objects: None) -> AsyncIterator[httpx.AsyncClient]:
    app = create_admission_app(reconciler.gate, world)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://operator") as client:
        yield client


async def test_before_the_operator_knows_its_objects_there_is_no_answer(http: httpx.AsyncClient) -> None:
    """What names the Deployment is not known yet: a yes would be a guess."""
    assert (await http.post("/admission", json=asked())).status_code == 503


async def test_a_broken_version_is_refused_and_one_that_holds_is_not(
    world: Any, reconciler: Reconciler, http: httpx.AsyncClient
) -> None:
    reconciler.open()
    world.matrix = BROKEN
    answer = (await http.post("/admission", json=asked())).json()
    assert (answer["kind"], answer["response"]["uid"], answer["response"]["allowed"]) == ("AdmissionReview", "u", False)
    assert "users 2 may not go to production (Broken)" in answer["response"]["status"]["message"]
    world.matrix = GOOD
    assert (await http.post("/admission", json=asked())).json()["response"]["allowed"] is True


async def test_nobody_is_asked_where_the_version_stays(
    world: Any, reconciler: Reconciler, http: httpx.AsyncClient
) -> None:
    reconciler.open()
    world.matrix = BROKEN
    answer = (await http.post("/admission", json=asked(oldObject=deployment()))).json()["response"]
    assert answer == {"uid": "u", "allowed": True}
    assert world.called("can_i_deploy") == []


async def test_a_namespace_without_an_environment_passes_with_a_warning(
    world: Any, reconciler: Reconciler, http: httpx.AsyncClient
) -> None:
    world.put(names.BROKER, "broker", {"url": "http://b"})
    reconciler.open()
    world.matrix = BROKEN
    answer = (await http.post("/admission", json=asked())).json()["response"]
    assert answer["allowed"] is True
    assert answer["warnings"] == [
        "The gate was not asked for PactProvider users: set spec.environment of PactBroker broker."
    ]


async def test_an_unknown_version_is_verified_unless_it_is_a_dry_run(
    world: Any, reconciler: Reconciler, http: httpx.AsyncClient
) -> None:
    reconciler.open()
    world.matrix = Matrix(None)
    for dry_run, wanted in ((True, set[str]()), (False, {"2"})):
        answer = (await http.post("/admission", json=asked(dryRun=dry_run))).json()["response"]
        assert answer["allowed"] is False
        [provider] = world.bodies(names.PROVIDER, NS)
        assert set(reconciler.gate.candidates(PactProvider.model_validate(provider))) == wanted


@pytest.mark.parametrize(
    ("content", "status"), [(b"no JSON", 400), (b"[" * 100_000, 400), (b"{}", 400), (b" " * (MAX_BODY + 1), 413)]
)
async def test_what_is_no_review_is_refused(
    reconciler: Reconciler, http: httpx.AsyncClient, content: bytes, status: int
) -> None:
    reconciler.open()
    answer = await http.post("/admission", content=content)
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


# --- the certificate


def make_certificate(folder: Path, name: str) -> None:
    """A certificate of its own authority, as the chart or cert-manager puts one into the Secret."""
    folder.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


async def served(port: int, trusted: Path, name: str) -> bool:
    """Whether a handshake succeeds with one certificate."""
    try:
        context = ssl.create_default_context(cafile=str(trusted / "tls.crt"))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    except ssl.SSLError:
        return False
    writer.close()
    return True


async def test_a_renewed_certificate_is_served_at_once_and_half_a_one_never(tmp_path: Path) -> None:
    first, second, mounted = tmp_path / "first", tmp_path / "second", tmp_path / "mounted"
    make_certificate(first, "first.svc")
    make_certificate(second, "second.svc")
    shutil.copytree(first, mounted)
    certificate = Certificate(mounted)
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=certificate.context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await served(port, first, "first.svc")
        assert not await served(port, second, "second.svc")
        shutil.copy(second / "tls.crt", mounted / "tls.crt")
        assert await served(port, first, "first.svc"), "a certificate without its key leaves the last one in force"
        shutil.copy(second / "tls.key", mounted / "tls.key")
        assert await served(port, second, "second.svc")
        assert not await served(port, first, "first.svc")
        (mounted / "tls.key").unlink()
        assert await served(port, second, "second.svc"), "a mount that is being swapped changes nothing"


def test_what_is_no_certificate_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("x", encoding="utf-8")
    (tmp_path / "tls.key").write_text("x", encoding="utf-8")
    with pytest.raises(ssl.SSLError):
        Certificate(tmp_path)
