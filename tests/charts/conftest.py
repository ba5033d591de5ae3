"""The programs that the tests of the charts run."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pact_cluster import ClusterError, Workspace, ensure_tools
from tests.charts.charts import Helm
from tests.support.apiserver import ApiServer, running_apiserver


def _tool(name: str) -> Path:
    """Find a program, or fail with a sentence that says how to get it."""
    try:
        return ensure_tools(Workspace.find(), [name])[name]
    except ClusterError as error:
        pytest.fail(f"The charts cannot be tested without {name}: {error}", pytrace=False)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The helm program."""
    return Helm(_tool("helm"), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def helm_unittest() -> Path:
    """The helm-unittest program."""
    return _tool("helm-unittest")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that knows our kinds."""
    with running_apiserver(tmp_path_factory.mktemp("charts-apiserver")) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: ApiServer) -> Iterator[httpx.Client]:
    """Its administrator, with namespaces in which only hardened Pods may run."""
    with server.client() as client:
        for name in ("pact-system", "pact-demo", "team-a", "team-b", "shop", "argocd"):
            metadata = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
            answer = client.post(
                "/api/v1/namespaces", json={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            )
            answer.raise_for_status()
        yield client
