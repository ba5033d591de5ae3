from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pact_cluster import ClusterError, Workspace, ensure_cluster
from pact_cluster.demo import demo
from pact_cluster.demo_kube import Kube
from tests.support.kind import DEMO, SYSTEM, Kind

HERE = Path(__file__).parent
# The first test brings everything up; from nothing that takes its time.
COLD_SECONDS = 1800
SHARED = pytest.StashKey[Kind]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kind)
            item.add_marker(pytest.mark.timeout(COLD_SECONDS))


@pytest.fixture(scope="session")
def kind(pytestconfig: pytest.Config) -> Iterator[Kind]:
    """The demo, brought up by the code behind `make demo`, with every contract green."""
    workspace = Workspace.find()
    assert demo(workspace) == 0, "the demo ended with a broken contract"
    cluster = ensure_cluster(workspace)
    kube = Kube(cluster.kubeconfig, cluster.context)
    shared = Kind(workspace, kube, cluster.engine)
    pytestconfig.stash[SHARED] = shared
    try:
        yield shared
    finally:
        shared.remove_namespaces()
        kube.close()


@pytest.fixture(scope="session")
def command_lines(kind: Kind) -> Iterator[set[str]]:
    """Every word that has stood on the command line of a process in the node since this was first asked for."""
    with kind.node.command_lines() as words:
        yield words


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    shared = item.config.stash.get(SHARED, None)
    if HERE in item.path.parents and report.failed and shared:
        try:
            text = shared.dump([DEMO, SYSTEM, *shared.namespaces])
        except ClusterError as error:
            text = f"The cluster does not tell: {error}"
        report.sections.append(("cluster", text))
    return report
