import json
from pathlib import Path

import pytest

from pact_cluster.errors import ClusterError
from pact_cluster.kind import env, official_image, pods_run_since
from pact_cluster.workspace import Settings, Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
STARTED = "2026-01-02T03:04:05.678901Z"


def pods(*containers: tuple[bool, str | None]) -> str:
    statuses: list[dict[str, object]] = [
        {"ready": ready, "state": {"running": {"startedAt": at}} if at else {"waiting": {}}} for ready, at in containers
    ]
    return json.dumps({"items": [{"status": {"containerStatuses": statuses}}]})


@pytest.mark.parametrize(
    ("listed", "settled"),
    [
        (pods((True, "2026-01-02T03:04:05Z"), (True, "2026-01-02T03:05:00Z")), True),
        (pods((True, "2026-01-02T03:04:04Z")), False),
        (pods((True, "2026-01-02T03:04:09Z"), (False, "2026-01-02T03:04:09Z")), False),
        (pods((False, None)), False),
        (json.dumps({"items": [{"status": {}}]}), False),
        (json.dumps({"items": []}), False),
    ],
)
def test_conditions_from_before_a_restart_do_not_count(listed: str, settled: bool) -> None:
    assert pods_run_since(listed, STARTED) is settled


def test_the_official_image_is_pinned_by_digest() -> None:
    workspace = Workspace(REPOSITORY, Path("/nonexistent/cache"), Path("/nonexistent/state"))

    assert "@sha256:" in official_image(workspace)


def test_no_pinned_image_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/kind.yaml").write_text("kind: Cluster\n")

    with pytest.raises(ClusterError, match="names no node image"):
        official_image(Workspace(tmp_path, tmp_path, tmp_path))


def test_a_named_context_keeps_the_users_own_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workspace = Workspace(REPOSITORY, tmp_path, tmp_path, Settings.from_environment({"CLUSTER": "context:prod"}))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    values = env(workspace)

    assert "KUBECONFIG" not in values
    assert "DOCKER_HOST" not in values
    assert values["PATH"].endswith("/usr/bin:/bin")
