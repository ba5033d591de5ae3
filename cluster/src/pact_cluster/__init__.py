"""From a bare machine to a kind cluster with the project's images in it, and back."""

from pact_cluster.engine import Engine, ensure_engine
from pact_cluster.errors import ClusterError, CommandFailedError
from pact_cluster.images import NAMES, build_images, load_images, machine_settings_in
from pact_cluster.kind import (
    Cluster,
    delete_cluster,
    ensure_cluster,
    env,
    environment,
    find_cluster,
    kubectl,
    leftovers_of,
    uses_local_images,
)
from pact_cluster.report import Reporter, Step
from pact_cluster.tools import ensure_tools
from pact_cluster.workspace import CONTEXT, ClusterChoice, NodeImageChoice, Settings, Workspace

__all__ = [
    "CONTEXT",
    "NAMES",
    "Cluster",
    "ClusterChoice",
    "ClusterError",
    "CommandFailedError",
    "Engine",
    "NodeImageChoice",
    "Reporter",
    "Settings",
    "Step",
    "Workspace",
    "build_images",
    "delete_cluster",
    "ensure_cluster",
    "ensure_engine",
    "ensure_tools",
    "env",
    "environment",
    "find_cluster",
    "kubectl",
    "leftovers_of",
    "load_images",
    "machine_settings_in",
    "uses_local_images",
]
