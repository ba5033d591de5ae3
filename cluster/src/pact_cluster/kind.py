"""The cluster: a kind cluster of one node, or a kube context named by the user."""

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from pact_cluster import preflight
from pact_cluster.engine import NETWORK, Engine, ensure_engine, find_engine, remaining, stop_own_engine
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.nodeimage import ensure_node_image
from pact_cluster.registry import registry_answers
from pact_cluster.report import Reporter
from pact_cluster.shell import base_environment, run, stream, succeeds
from pact_cluster.tools import COMMAND_TOOLS, NODE_TOOLS, ensure_tools, missing_tools, tool_folders
from pact_cluster.workspace import CLUSTER_NAME, CONTEXT, ClusterChoice, NodeImageChoice, Workspace

NODE = f"{CLUSTER_NAME}-control-plane"
_READY_SECONDS = 180


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers.

    Attributes:
        context: The kube context's name.
        kubeconfig: The file of that context; None: the user's own.
        engine: The Docker engine it runs on; None for an existing cluster.
        node_image: The node's image; empty for an existing cluster.
        sealed: Whether nothing in it can send a packet off the machine.
        enforces_network_policies: Whether NetworkPolicies take effect; None if not known.
    """

    context: str
    kubeconfig: Path | None
    engine: Engine | None
    node_image: str
    sealed: bool
    enforces_network_policies: bool | None


def official_image(workspace: Workspace) -> str:
    """The official node image, as `kind.yaml` pins it.

    Raises:
        ClusterError: The file names none.
    """
    found = re.search(r"^\s*image:\s*(\S+)", (workspace.sources / "kind.yaml").read_text(), re.MULTILINE)
    if not found:
        raise ClusterError("cluster/kind.yaml names no node image.")
    return found[1]


def uses_local_images(workspace: Workspace, engine: Engine, report: Reporter | None = None) -> bool:
    """Whether node and base images must be made here, because no registry answers (or `NODE_IMAGE` says so)."""
    choice = workspace.settings.node_image
    if choice is NodeImageChoice.AUTO:
        return not registry_answers(workspace, engine, official_image(workspace), report)
    return choice is NodeImageChoice.LOCAL


def env(workspace: Workspace) -> dict[str, str]:
    """What programs that use the cluster need in their environment: the engine, the kubeconfig, the tools."""
    values: dict[str, str] = {"SKAFFOLD_UPDATE_CHECK": "false"}
    if workspace.settings.cluster is not ClusterChoice.CONTEXT:
        values["KUBECONFIG"] = str(workspace.kubeconfig)
        engine = find_engine(workspace)
        if engine:
            values |= engine.environment
    # Not os.environ's PATH alone: calling this twice must not lengthen it.
    folders = [str(folder) for folder in tool_folders(workspace)]
    rest = [part for part in os.environ.get("PATH", "").split(":") if part and part not in folders]
    values["PATH"] = ":".join([*folders, *rest])
    return values


def environment(workspace: Workspace) -> dict[str, str]:
    """The process environment with `env` in it."""
    return base_environment() | env(workspace)


def kubectl(
    workspace: Workspace,
    *arguments: str,
    stdin: str | None = None,
    timeout: float | None = None,
    report: Reporter | None = None,
) -> str:
    """Run kubectl against the cluster.

    Returns:
        Its standard output.

    Raises:
        CommandFailedError: It failed.
    """
    program = ensure_tools(workspace, ["kubectl"], report)["kubectl"]
    return run(
        [program, "--context", context_of(workspace), *arguments],
        environment=environment(workspace),
        stdin=stdin,
        timeout=timeout,
    )


def context_of(workspace: Workspace) -> str:
    """The kube context in use."""
    return workspace.settings.context or CONTEXT


def prepare(workspace: Workspace, report: Reporter | None = None) -> Engine:
    """What a cluster and its images need: a machine that fits, and a running engine.

    Raises:
        ClusterError: Something that it needs is missing, in sentences.
    """
    report = report or Reporter()
    found = find_engine(workspace)
    tools = COMMAND_TOOLS if found else (*COMMAND_TOOLS, *NODE_TOOLS)
    preflight.require(workspace, tools, engine=found is not None)
    return ensure_engine(workspace, report)


def ensure_cluster(workspace: Workspace, report: Reporter | None = None) -> Cluster:
    """The running cluster, its node Ready and its DNS up; created if there is none.

    Raises:
        ClusterError: Something that it needs is missing, in sentences.
        CommandFailedError: A step failed.
    """
    report = report or Reporter()
    if workspace.settings.cluster is ClusterChoice.CONTEXT:
        return _existing(workspace, report)
    with workspace.locked("cluster"):
        engine = prepare(workspace, report)
        ensure_tools(workspace, COMMAND_TOOLS, report)
        workspace.state.mkdir(parents=True, exist_ok=True)
        image = _running_image(engine)
        if image and not (_is_whole(workspace, engine) and _revive(workspace, engine, report)):
            report.say("The cluster that was there is not whole or does not come back; a new one is made.")
            _delete(workspace, engine, report)
            image = ""
        if not image:
            image = _create(workspace, engine, report)
        elif not workspace.kubeconfig.exists():
            _kind(workspace, "export", "kubeconfig")
        local = image.startswith("localhost/")
        return Cluster(CONTEXT, workspace.kubeconfig, engine, image, local, not local)


def find_cluster(workspace: Workspace) -> Cluster | None:
    """The cluster if it answers now, else None; changes nothing."""
    if workspace.settings.cluster is ClusterChoice.CONTEXT:
        try:
            return _existing(workspace, Reporter(quiet=True))
        except ClusterError:
            return None
    engine = find_engine(workspace)
    image = _running_image(engine) if engine else ""
    if engine is None or not image or not _answers(workspace):
        return None
    local = image.startswith("localhost/")
    return Cluster(CONTEXT, workspace.kubeconfig, engine, image, local, not local)


def delete_cluster(workspace: Workspace, report: Reporter | None = None) -> None:
    """Delete the kind cluster, its network, and the engine if we started it. A named context is never touched."""
    report = report or Reporter()
    with workspace.locked("cluster"):
        engine = find_engine(workspace)
        if engine and _running_image(engine):
            _delete(workspace, engine, report)
        if engine and (workspace.state / "network").exists():
            succeeds(["docker", "network", "rm", NETWORK], environment=base_environment() | engine.environment)
        stop_own_engine(workspace, report)
        for file in ("kubeconfig", "kubeconfig.lock", "network", "kind.log", "created"):
            (workspace.state / file).unlink(missing_ok=True)
        if workspace.state.is_dir() and not any(workspace.state.iterdir()):
            workspace.state.rmdir()


def leftovers_of(workspace: Workspace) -> list[str]:
    """What is left of cluster and engine, one phrase each; empty after a clean `down`."""
    found = remaining(workspace)
    engine = find_engine(workspace)
    if engine and _running_image(engine):
        found.append(f"container {NODE}")
    if workspace.state.exists():
        found.append(f"folder {workspace.state}")
    return found


def pods_run_since(listed: str, started: str) -> bool:
    """Whether every container of some Pods is ready and was started since the node was.

    After a node's restart the API server shows the old conditions until the kubelet has looked.

    Args:
        listed: `kubectl get pods -o json`.
        started: When the node's container started, RFC 3339 in UTC.
    """
    statuses = [
        status for pod in json.loads(listed)["items"] for status in pod["status"].get("containerStatuses") or [{}]
    ]
    return bool(statuses) and all(
        status.get("ready") and status["state"].get("running", {}).get("startedAt", "") >= started[:19]
        for status in statuses
    )


def _existing(workspace: Workspace, report: Reporter) -> Cluster:
    context = workspace.settings.context
    try:
        kubectl(workspace, "get", "--raw", "/readyz", timeout=30, report=report)
    except CommandFailedError as error:
        raise ClusterError(
            f"The cluster of the kube context {context} does not answer: {error.output.strip().splitlines()[-1]}"
            if error.output.strip()
            else f"The cluster of the kube context {context} does not answer."
        ) from error
    return Cluster(context, None, None, "", sealed=False, enforces_network_policies=None)


def _running_image(engine: Engine) -> str:
    """The image of the node's container, running or stopped; empty if there is none."""
    listed = engine.docker("ps", "-a", "--filter", f"name=^{NODE}$", "--format", "{{json .}}", timeout=30).strip()
    return str(json.loads(listed.splitlines()[0])["Image"]) if listed else ""


def _created(workspace: Workspace) -> Path:
    """Written when a cluster has been made to the end: the id of its node's container."""
    return workspace.state / "created"


def _container_id(engine: Engine) -> str:
    return engine.docker("inspect", "--format", "{{.Id}}", NODE).strip()


def _is_whole(workspace: Workspace, engine: Engine) -> bool:
    """Whether the node belongs to a cluster that was made to the end; a run that was killed leaves half of one."""
    file = _created(workspace)
    return file.exists() and file.read_text() == _container_id(engine)


def _answers(workspace: Workspace) -> bool:
    try:
        kubectl(workspace, "get", "--raw", "/readyz", timeout=15)
    except ClusterError:
        return False
    return True


def _revive(workspace: Workspace, engine: Engine, report: Reporter) -> bool:
    """Start a node that was stopped; whether the cluster answers in the end."""
    if _answers(workspace):
        return True
    with report.step("Starting the cluster's node again"):
        try:
            engine.docker("start", NODE)
            _kind(workspace, "export", "kubeconfig")
        except CommandFailedError:
            return False
        started = engine.docker("inspect", "--format", "{{.State.StartedAt}}", NODE).strip()
        limit = time.monotonic() + _READY_SECONDS
        while time.monotonic() < limit:
            try:
                if pods_run_since(kubectl(workspace, "-n", "kube-system", "get", "pods", "-o", "json"), started):
                    _wait_until_ready(workspace)
                    return True
            except CommandFailedError:
                pass  # the API server is not up yet
            time.sleep(0.5)
    return False


def _create(workspace: Workspace, engine: Engine, report: Reporter) -> str:
    local = uses_local_images(workspace, engine, report)
    image = ensure_node_image(workspace, engine, report) if local else official_image(workspace)
    networks = engine.docker("network", "ls", "--format", "{{.Name}}").split()
    if NETWORK not in networks:
        # kind would make it with IPv6 too, whose resolver Pods could not reach.
        engine.docker("network", "create", "--driver", "bridge", NETWORK)
        (workspace.state / "network").touch()
    config = workspace.sources / ("kind-local.yaml" if local else "kind.yaml")
    with report.step("Creating the kind cluster") as step:
        arguments = ["create", "cluster", "--config", str(config), "--image", image, "--wait", f"{_READY_SECONDS}s"]
        try:
            _kind(workspace, *arguments, step_update=step.update)
            step.update("waiting for its DNS")
            _wait_until_ready(workspace)
            _created(workspace).write_text(_container_id(engine))
        except BaseException:
            # A half-made cluster would be taken for a whole one by the next run.
            succeeds(["docker", "rm", "-fv", NODE], environment=base_environment() | engine.environment)
            raise
    return image


def _wait_until_ready(workspace: Workspace) -> None:
    seconds = f"{_READY_SECONDS}s"
    kubectl(workspace, "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={seconds}")
    kubectl(workspace, "-n", "kube-system", "rollout", "status", "deployment/coredns", f"--timeout={seconds}")
    # A Pod made before its namespace has a ServiceAccount is forbidden.
    kubectl(workspace, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")


def _delete(workspace: Workspace, engine: Engine, report: Reporter) -> None:
    with report.step("Deleting the kind cluster"):
        environment = base_environment() | engine.environment
        if not missing_tools(workspace, ["kind"]):
            _kind(workspace, "delete", "cluster")
        succeeds(["docker", "rm", "-fv", NODE], environment=environment, timeout=120)


def _kind(workspace: Workspace, *arguments: str, step_update: object = None) -> None:
    program = ensure_tools(workspace, ["kind"])["kind"]
    update = step_update if callable(step_update) else lambda _line: None

    def on_line(line: str) -> None:
        text = re.sub(r"[^\x20-\x7e]", "", line).strip()
        if text:
            update(text)

    stream(
        [program, *arguments, "--name", CLUSTER_NAME],
        on_line,
        environment=environment(workspace),
        log=workspace.state / "kind.log",
    )
