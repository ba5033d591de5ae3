"""The programs that the tests of the charts run."""

from pathlib import Path

import pytest

from pact_cluster import ClusterError, Workspace, ensure_tools
from tests.charts.charts import Helm


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
