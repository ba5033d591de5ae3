"""Who holds or wants a place of a PactBroker, as far as the watches and our own memory tell."""

from collections.abc import Iterable, Mapping
from typing import Any

from pact_operator.api import names
from pact_operator.api.reasons import Reason
from pact_operator.core.facts import InLine, Key, Places
from pact_operator.core.times import parse
from pact_operator.engine.recent import Recent
from pact_operator.engine.snapshot import Body, Snapshot


def places_of(snapshot: Snapshot, recent: Recent, namespace: str, broker: str, limit: int | None) -> Places | None:
    """Counts the runs of all PactProviders of a PactBroker, and those that wait for their turn.

    The bodies are read as they are: an object whose spec does not parse can still have a run.

    Args:
        snapshot: what the watches have told.
        recent: what was created and not told of yet: it holds a place already.
        namespace: of the PactBroker.
        broker: its name.
        limit: its `spec.maxConcurrentRuns`.

    Returns:
        None if its runs are not limited.
    """
    if limit is None:
        return None
    taken, freed_at = set(), 0.0
    for body in recent.merged(names.VERIFICATION, namespace, snapshot.bodies(names.VERIFICATION, namespace)):
        if broker_name(body) != broker or not _made_for_a_provider(body):
            continue
        status = _mapping(body.get("status"))
        if ended := status.get("completionTime"):
            freed_at = max(freed_at, parse(ended) if isinstance(ended, str) else 0.0)
        elif not _refused(status):
            taken.add(body["metadata"]["name"])
    return Places(limit, frozenset(taken), tuple(_line(snapshot.bodies(names.PROVIDER, namespace), broker)), freed_at)


def limit_of(snapshot: Snapshot, namespace: str, broker: str) -> int | None:
    """The `spec.maxConcurrentRuns` of a PactBroker as it is now; None for none that can be read."""
    body = snapshot.body(Key(names.BROKER, namespace, broker))
    limit = _mapping((body or {}).get("spec")).get("maxConcurrentRuns")
    return limit if isinstance(limit, int) and limit > 0 else None


def broker_name(body: Body) -> str:
    """The PactBroker that an object refers to; empty if it refers to none.

    An object that is kept since before the schema was as it is may hold anything.
    """
    name = _mapping(_mapping(body.get("spec")).get("brokerRef")).get("name")
    return name if isinstance(name, str) else ""


def _made_for_a_provider(body: Body) -> bool:
    owners = body["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("kind") == names.PROVIDER for owner in owners)


def _refused(status: Mapping[str, Any]) -> bool:
    """Whether the API server refuses the run's Job: it uses nothing, and may wait for somebody to act for days."""
    conditions = [_mapping(condition) for condition in status.get("conditions") or ()]
    return not status.get("jobName") and any(c.get("reason") == Reason.JOB_REJECTED for c in conditions)


def _line(providers: Iterable[Body], broker: str) -> Iterable[InLine]:
    for body in providers:
        meta, since = body["metadata"], _mapping(body.get("status")).get("queuedSince")
        if not isinstance(since, str) or meta.get("deletionTimestamp") or broker_name(body) != broker:
            continue
        if not _mapping(body.get("spec")).get("suspend"):
            yield InLine(parse(since), meta["name"])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
