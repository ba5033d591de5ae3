"""What the watches have told, kept in memory: the engine's `Snapshot`.

kopf has indexes of its own, which are complete before any handler runs. Filling those takes time with the square of
the number of objects, though: at the start each object wakes up all that wait for it. Here the watches fill the
indexes, and `has_seen` tells whether they know as much as a list of the API server.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

from pact_operator.api import names
from pact_operator.core.facts import Key, WorkloadFacts
from pact_operator.engine.gather import workload_facts
from pact_operator.engine.snapshot import Body

T = TypeVar("T")

_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""A second copy of the whole object, for `kubectl apply` alone."""

# Three ways to look one of our objects up: by its name, all of a kind in a namespace, a run by its PactProvider.
_NAME, _KIND, _PROVIDER = "name", "kind", "provider"
_GONE: Final = "DELETED"


class Groups(Generic[T]):
    """Items by UID, each in any number of groups; a group keeps its items in the order in which they came."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[str, T]] = {}
        self._places: dict[str, tuple[Hashable, ...]] = {}

    def put(self, uid: str, item: T, *groups: Hashable) -> None:
        """Puts an item into these groups, in place of an earlier one of the same UID, wherever that was."""
        for group in set(self._places.get(uid, ())) - set(groups):
            self._leave(uid, group)
        for group in groups:
            self._groups.setdefault(group, {})[uid] = item
        self._places[uid] = groups

    def drop(self, uid: str) -> None:
        """Takes an item out of all groups; one that is not there is no error."""
        for group in self._places.pop(uid, ()):
            self._leave(uid, group)

    def of(self, group: Hashable) -> list[T]:
        """The items of a group, none for one that nobody has named."""
        return list(self._groups.get(group, {}).values())

    def groups(self, *beginning: Hashable) -> list[Hashable]:
        """The names of the groups that are tuples which begin like this."""
        length = len(beginning)
        return [group for group in self._groups if isinstance(group, tuple) and group[:length] == beginning]

    def last(self, group: Hashable) -> T | None:
        """The item of a group that came last."""
        found = self._groups.get(group)
        return found[next(reversed(found))] if found else None

    def uids(self) -> set[str]:
        """Those of all items."""
        return set(self._places)

    def items(self) -> list[T]:
        """All items."""
        return [self._groups[groups[0]][uid] for uid, groups in self._places.items()]

    def _leave(self, uid: str, group: Hashable) -> None:
        del self._groups[group][uid]
        if not self._groups[group]:
            del self._groups[group]


class IndexSnapshot:
    """The `Snapshot` of the engine. While an object is deleted and made anew, both may be there: the later counts."""

    def __init__(self) -> None:
        self._objects: Groups[Body] = Groups()
        self._jobs: Groups[Body] = Groups()
        self._pods: Groups[Body] = Groups()
        self._deployments: Groups[WorkloadFacts] = Groups()
        self._seen: set[str] | None = set()

    # -- what the watches tell

    def object_told(self, event: Mapping[str, Any]) -> None:
        """Takes a watch event of one of our objects; it is kept whole but for `managedFields`.

        Args:
            event: as the API server sends it; the type None stands for an object that was listed. What is not kept of
                the object is taken out of it.
        """
        body = event["object"]
        if not self._is_there(event, self._objects):
            return
        meta = body["metadata"]
        what, namespace, name = body["kind"], meta.get("namespace", ""), meta["name"]
        groups: list[Hashable] = [(_NAME, what, namespace, name), (_KIND, what, namespace)]
        if what == names.VERIFICATION:
            groups.append((_PROVIDER, namespace, _labels(body).get(names.LABEL_PROVIDER, "")))
        self._objects.put(meta["uid"], _slim(body), *groups)

    def job_told(self, event: Mapping[str, Any]) -> None:
        """Takes a watch event of a Job of ours: metadata and status, by role and owner."""
        body = event["object"]
        if self._is_there(event, self._jobs):
            self._jobs.put(body["metadata"]["uid"], _outline(body), _owned(body))

    def pod_told(self, event: Mapping[str, Any]) -> None:
        """Takes a watch event of a Pod of ours: metadata and status, by role and owner."""
        body = event["object"]
        if self._is_there(event, self._pods):
            self._pods.put(body["metadata"]["uid"], _outline(body), _owned(body))

    def deployment_told(self, event: Mapping[str, Any]) -> None:
        """Takes a watch event of a Deployment: only what a version can be read from."""
        body = event["object"]
        if self._is_there(event, self._deployments):
            meta = body["metadata"]
            self._deployments.put(meta["uid"], workload_facts(body), (meta.get("namespace", ""), meta["name"]))

    def _is_there(self, event: Mapping[str, Any], index: Groups[Any]) -> bool:
        # What comes of it, it has been seen: one odd object must not keep the operator from beginning.
        uid = event["object"]["metadata"]["uid"]
        if self._seen is not None:
            self._seen.add(uid)
        gone: bool = event["type"] == _GONE
        if gone:
            index.drop(uid)
        return not gone

    def has_seen(self, uids: Collection[str]) -> bool:
        """Whether the watches have told of all these objects; once they have, it need not be asked again."""
        if self._seen is None or self._seen.issuperset(uids):
            self._seen = None
            return True
        return False

    def known(self) -> set[str]:
        """The UIDs of all objects that are there, as far as the watches have told."""
        return {uid for index in self._indexes() for uid in index.uids()}

    def forget(self, uids: Iterable[str]) -> None:
        """Takes objects out that went without a word of the watches."""
        for uid in uids:
            for index in self._indexes():
                index.drop(uid)

    def ours(self) -> list[Key]:
        """All objects of ours that are there."""
        places = [(body["kind"], body["metadata"]) for body in self._objects.items()]
        return [Key(kind, meta.get("namespace", ""), meta["name"]) for kind, meta in places]

    def _indexes(self) -> tuple[Groups[Any], ...]:
        return self._objects, self._jobs, self._pods, self._deployments

    # -- what the engine asks

    def body(self, key: Key) -> Body | None:
        """An object of ours; see the protocol."""
        return self._objects.last((_NAME, key.kind, key.namespace, key.name))

    def bodies(self, kind: str, namespace: str) -> Iterable[Body]:
        """All objects of one of our kinds in a namespace; see the protocol."""
        return self._objects.of((_KIND, kind, namespace))

    def everywhere(self, kind: str) -> Iterable[Body]:
        """All objects of one of our kinds, for metrics."""
        return [body for group in self._objects.groups(_KIND, kind) for body in self._objects.of(group)]

    def verifications(self, namespace: str, provider: str) -> Iterable[Body]:
        """PactVerifications of a provider; see the protocol."""
        return self._objects.of((_PROVIDER, namespace, provider))

    def jobs(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Jobs by labels; see the protocol."""
        return self._jobs.of((namespace, role, owner))

    def pods(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        """Pods by labels; see the protocol."""
        return self._pods.of((namespace, role, owner))

    def workload(self, namespace: str, name: str) -> WorkloadFacts | None:
        """A Deployment; see the protocol."""
        return self._deployments.last((namespace, name))


def _slim(body: Any) -> Body:
    # In place: kopf holds on to an event for some seconds after it was handled, at the start to those of all objects.
    body["metadata"].pop("managedFields", None)
    (body["metadata"].get("annotations") or {}).pop(_APPLIED, None)
    slim: Body = body
    return slim


def _outline(body: Body) -> Body:
    slim = _slim(body)
    return {"metadata": slim["metadata"], "status": slim.get("status") or {}}


def _labels(body: Body) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}


def _owned(body: Body) -> tuple[str, str, str]:
    labels = _labels(body)
    namespace = body["metadata"].get("namespace", "")
    return (namespace, labels.get(names.LABEL_ROLE, ""), labels.get(names.LABEL_OWNER, ""))
