"""What objects say in numbers: pure readings of their status, for metrics.

A status is read as it lies in the index, without a model: a scrape reads those of all objects.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pact_operator.api import names
from pact_operator.core.times import parse

Body = Mapping[str, Any]

STATES: Final = ("verified", "owed", "failed")
"""The counts of a PactProvider's status."""


@dataclass(frozen=True, slots=True)
class Promise:
    """How one PactProvider stands.

    Attributes:
        namespace: of the object.
        name: of the object.
        counts: one number for each of `STATES`.
        oldest_owed: age in seconds of what has been owed the longest; 0.0 where nothing is.
    """

    namespace: str
    name: str
    counts: Mapping[str, int]
    oldest_owed: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has just got its verdict.

    Attributes:
        reason: of its condition `Succeeded`.
        since_publication: seconds from the publication of each content to the verdict, where that came last.
        since_rollout: seconds from the first sight of the provider version to the verdict, where that came last.
        candidate: whether its version was only asked about, before it is rolled out.
    """

    reason: str
    since_publication: tuple[float, ...] = ()
    since_rollout: float | None = None
    candidate: bool = False


def promise(body: Body, now: float) -> Promise:
    """Reads a PactProvider.

    Args:
        body: as the API server holds it.
        now: seconds since the epoch.
    """
    meta, status = body["metadata"], _status(body)
    # What was only asked about is for those to wait for who asked.
    asked = _candidates(status)
    since = [
        parse(contract.get("owedSince"))
        for contract in status.get("contracts") or ()
        if contract.get("owedSince") and contract.get("providerVersion") not in asked
    ]
    return Promise(
        namespace=str(meta.get("namespace", "")),
        name=str(meta["name"]),
        counts={state: int(status.get(state) or 0) for state in STATES},
        oldest_owed=max(0.0, now - min(since)) if since else 0.0,
    )


def drifts(body: Body) -> bool | None:
    """Whether cluster and broker differ on what runs of an object; None where nobody compares them."""
    recorded = _condition(_status(body).get("conditions"), "Recorded")
    return None if recorded is None else recorded.get("reason") == "Drift"


def is_ready(body: Body) -> bool:
    """Whether the condition `Ready` of an object is True."""
    ready = _condition(_status(body).get("conditions"), "Ready")
    return ready is not None and ready.get("status") == "True"


def run_ended(before: Body, status: Mapping[str, Any], provider: Body | None) -> Ended | None:
    """What a status that is written to a PactVerification tells, if it is the one that ends it.

    Args:
        before: the object as it was.
        status: what is written.
        provider: the PactProvider that wanted the run, None for a run that a person made.

    Returns:
        None if the run goes on, or had ended before.
    """
    if not status.get("completionTime") or _status(before).get("completionTime"):
        return None
    verdict = _condition(status.get("conditions"), "Succeeded") or {}
    reason = str(verdict.get("reason", ""))
    spec = before.get("spec") or {}
    told = _status(provider) if provider is not None else {}
    since = parse(told.get("versionSince"))
    # A second try and an earlier version tell how long something else took.
    first = not spec.get("attempt") and not spec.get("request") and told.get("version") == spec.get("providerVersion")
    if not since or not first or not _published(status):
        return Ended(reason, candidate=spec.get("providerVersion") in _candidates(told))
    end = parse(status.get("completionTime"))
    publications = [parse(pact.get("publishedAt")) for pact in status.get("pacts") or () if pact.get("publishedAt")]
    later = tuple(max(0.0, end - at) for at in publications if at > since)
    earlier = any(at <= since for at in publications)
    return Ended(reason, later, max(0.0, end - since) if earlier else None)


def _published(status: Mapping[str, Any]) -> bool:
    condition = _condition(status.get("conditions"), "ResultPublished") or {}
    return condition.get("status") == "True"


def _candidates(status: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(candidate.get("version")) for candidate in status.get("candidates") or ())


def _status(body: Body) -> Mapping[str, Any]:
    status: Mapping[str, Any] = body.get("status") or {}
    return status


def _condition(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> Mapping[str, Any] | None:
    return next((condition for condition in conditions or () if condition.get("type") == kind), None)


def of_provider(run: Body) -> str:
    """The label of a run that names its PactProvider; empty for one that a person made."""
    labels = run["metadata"].get("labels") or {}
    return str(labels.get(names.LABEL_PROVIDER, ""))
