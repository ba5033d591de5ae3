"""The restricted Pod Security Standard, and what this project asks of a Pod beyond it."""

import re
from collections.abc import Iterator
from typing import Any

from tests.charts.charts import PodTemplate

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_TAGGED = re.compile(r"^(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9._/-]+:(?P<tag>\{version\}|[A-Za-z0-9_][A-Za-z0-9_.-]*)$")


def restricted(template: PodTemplate) -> Iterator[str]:
    """Yield what the restricted Pod Security Standard (version v1.36) finds wrong with a Pod.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    spec, pod = template.spec, template.spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    for volume in spec.get("volumes", []):
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of the kind {', '.join(sorted(kinds))}"
    if pod.get("sysctls"):
        yield "sysctls are set"
    if pod.get("runAsUser") == 0:
        yield "the Pod runs as root"
    for container in template.containers:
        name = container["name"]
        for problem in _restricted_container(pod, container):
            yield f"container {name}: {problem}"


def _restricted_container(pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser") == 0:
        yield "runs as root"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "does not drop all capabilities"
    if added := set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"adds the capabilities {sorted(added)}"
    if own.get("procMount", "Default") != "Default":
        yield "has a procMount of its own"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "takes a port of the node"


def hardened(template: PodTemplate, *, with_token: bool) -> Iterator[str]:
    """Yield what this project finds wrong with a Pod beyond the standard.

    Args:
        template: The Pod.
        with_token: Whether it is the one that needs a service account token.
    """
    spec = template.spec
    if spec.get("automountServiceAccountToken") is not with_token:
        yield f"automountServiceAccountToken is not {with_token}"
    if spec.get("enableServiceLinks") is not False:
        yield "enableServiceLinks is not false: other Services' addresses would be in the environment"
    if not isinstance(spec.get("securityContext", {}).get("runAsUser"), int):
        yield "runAsUser is not set: runAsNonRoot fails where the image names its user by a word"
    mounted = {mount["name"] for container in template.containers for mount in container.get("volumeMounts", [])}
    claimed = {"data"} if template.where.startswith("StatefulSet") else set()
    if unknown := mounted - {volume["name"] for volume in spec.get("volumes", [])} - claimed:
        yield f"mounts the unknown volumes {sorted(unknown)}"
    for container in template.containers:
        name = container["name"]
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"container {name}: the root file system is writable"
        resources = container.get("resources", {})
        if {"cpu", "memory"} - set(resources.get("requests", {})):
            yield f"container {name}: requests no cpu or no memory"
        if "memory" not in resources.get("limits", {}):
            yield f"container {name}: has no memory limit"
        tagged = _TAGGED.match(container["image"])
        if tagged is None or tagged["tag"] == "latest":
            yield f"container {name}: the image {container['image']} has no fixed tag"
        for problem in _environment(container):
            yield f"container {name}: {problem}"


def _environment(container: dict[str, Any]) -> Iterator[str]:
    names = [variable["name"] for variable in container.get("env", [])]
    if twice := {name for name in names if names.count(name) > 1}:
        yield f"sets {sorted(twice)} twice"
    for variable in container.get("env", []):
        if "PASSWORD" in variable["name"] and "secretKeyRef" not in variable.get("valueFrom", {}):
            yield f"{variable['name']} does not come from a Secret"
        if not isinstance(variable.get("value", ""), str):
            yield f"{variable['name']} is no string"
