"""kopf's indexes, and the engine's `Snapshot` over them. They are complete before any event handler runs."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import kopf

from pact_operator.api import names
from pact_operator.core.facts import Key, WorkloadFacts
from pact_operator.engine.gather import workload_facts
from pact_operator.engine.snapshot import Body

T = TypeVar("T")

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""A second copy of the whole object, for `kubectl apply` alone."""

# Two ways to look one of our objects up: by its name, and all of a kind in a namespace; and a PactVerification also by
# its PactProvider. One index holds all, as kopf makes an index per function.
_NAME, _KIND, _PROVIDER = "name", "kind", "provider"


@kopf.index(names.GROUP, names.VERSION, kopf.EVERYTHING)
def objects(body: Body, namespace: str | None, name: str, **_: Any) -> Mapping[tuple[str | None, ...], Body]:
    """Our own objects, whole but for `managedFields`."""
    kind, kept = body["kind"], _slim(body)
    provider = (body["metadata"].get("labels") or {}).get(names.LABEL_PROVIDER, "")
    return {
        (_NAME, kind, namespace, name): kept,
        (_KIND, kind, namespace): kept,
        **({(_PROVIDER, namespace, provider): kept} if kind == names.VERIFICATION else {}),
    }


@kopf.index("batch", "v1", "jobs", labels={names.LABEL_ROLE: kopf.PRESENT})
def jobs(body: Body, namespace: str | None, **_: Any) -> Mapping[tuple[str | None, ...], Body]:
    """Jobs of ours by role and owner: metadata and status."""
    return {_owned(body, namespace): _outline(body)}


@kopf.index("", "v1", "pods", labels={names.LABEL_ROLE: kopf.PRESENT})
def pods(body: Body, namespace: str | None, **_: Any) -> Mapping[tuple[str | None, ...], Body]:
    """Pods of ours by role and owner: metadata and status."""
    return {_owned(body, namespace): _outline(body)}


@kopf.index("apps", "v1", "deployments")
def deployments(
    body: Body, namespace: str | None, name: str, **_: Any
) -> Mapping[tuple[str | None, str], WorkloadFacts]:
    """Deployments: only what a version can be read from."""
    return {(namespace, name): workload_facts(body)}


class IndexSnapshot:
    """The `Snapshot` of the engine; empty until kopf has made its indexes and `bind` was called."""

    def __init__(self) -> None:
        self._objects: Mapping[Any, Iterable[Body]] = {}
        self._jobs: Mapping[Any, Iterable[Body]] = {}
        self._pods: Mapping[Any, Iterable[Body]] = {}
        self._deployments: Mapping[Any, Iterable[WorkloadFacts]] = {}

    def bind(
        self,
        *,
        objects: Mapping[Any, Iterable[Body]],
        jobs: Mapping[Any, Iterable[Body]],
        pods: Mapping[Any, Iterable[Body]],
        deployments: Mapping[Any, Iterable[WorkloadFacts]],
    ) -> None:
        """Takes kopf's indexes; they stay up to date by themselves."""
        self._objects, self._jobs, self._pods, self._deployments = objects, jobs, pods, deployments

    def body(self, key: Key) -> Body | None:
        """An object of ours; see the protocol."""
        return _last(self._objects.get((_NAME, key.kind, key.namespace, key.name), ()))

    def bodies(self, kind: str, namespace: str) -> Iterable[Body]:
        """All objects of one of our kinds in a namespace; see the protocol."""
        return list(self._objects.get((_KIND, kind, namespace), ()))

    def verifications(self, namespace: str, provider: str) -> Iterable[Body]:
        """PactVerifications of a provider; see the protocol."""
        return list(self._objects.get((_PROVIDER, namespace, provider), ()))

    def jobs(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Jobs by labels; see the protocol."""
        return list(self._jobs.get((namespace, role, owner), ()))

    def pods(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Pods by labels; see the protocol."""
        return list(self._pods.get((namespace, role, owner), ()))

    def workload(self, namespace: str, name: str) -> WorkloadFacts | None:
        """A Deployment; see the protocol."""
        return _last(self._deployments.get((namespace, name), ()))


def _last(store: Iterable[T]) -> T | None:
    # While an object is deleted and made anew, both may be there for a moment: the later one counts.
    return next(iter(list(store)[-1:]), None)


def _slim(body: Body) -> Body:
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if _APPLIED in (annotations := meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in annotations.items() if key != _APPLIED}
    return {**body, "metadata": meta}


def _outline(body: Body) -> Body:
    return {"metadata": _slim(body)["metadata"], "status": dict(body.get("status") or {})}


def _owned(body: Body, namespace: str | None) -> tuple[str | None, str, str]:
    labels = body["metadata"].get("labels") or {}
    return (namespace, labels.get(names.LABEL_ROLE, ""), labels.get(names.LABEL_OWNER, ""))
