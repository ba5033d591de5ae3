"""May this Deployment be rolled out? What the admission webhook asks the gate, and what it answers the API server.

Only a change of version is a question for the gate. Whatever is not ours to judge passes: a Deployment that no object
of ours names, a version that cannot be read, a namespace without an environment. It passes with a warning, so that
whoever relies on the gate sees that it was not asked.

Source of the shapes: `AdmissionReview` of `admission.k8s.io/v1`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pact_operator.api.v1alpha1 import PactConsumer, PactProvider
from pact_operator.core.conditions import clean
from pact_operator.core.facts import Question, WorkloadFacts
from pact_operator.core.gate import Decision
from pact_operator.core.versions import Unresolved, resolve

API_VERSION: Final = "admission.k8s.io/v1"
_MAX_WARNING: Final = 256
"""Longer warnings are cut by clients: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/"""
_MAX_MESSAGE: Final = 1500


@dataclass(frozen=True, slots=True)
class Review:
    """What the API server asks.

    Attributes:
        uid: of the request; the answer repeats it.
        namespace: of the Deployment.
        name: of the Deployment.
        new: what is to be.
        old: what is; None if the Deployment is being made.
        dry_run: whether nothing may come of it.
    """

    uid: str
    namespace: str
    name: str
    new: WorkloadFacts
    old: WorkloadFacts | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One question that the gate has to say yes to.

    Attributes:
        owner: the object of ours that asks, for people.
        broker: name of its PactBroker.
        pacticipant: who is to be rolled out.
        version: the new version.
    """

    owner: str
    broker: str
    pacticipant: str
    version: str

    def question(self, environment: str) -> Question:
        """The gate's question for an environment."""
        return Question(self.pacticipant, self.version, environment)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What has to be asked about a Deployment, and what people are told besides."""

    asks: tuple[Ask, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to the API server."""

    allowed: bool
    message: str = ""
    warnings: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()

    def as_review(self, uid: str) -> dict[str, Any]:
        """The `AdmissionReview` that answers."""
        said: dict[str, Any] = {"uid": uid, "allowed": self.allowed}
        if not self.allowed:
            said["status"] = {"code": 403, "reason": "Forbidden", "message": clean(self.message, _MAX_MESSAGE)}
        if self.warnings:
            said["warnings"] = [clean(warning, _MAX_WARNING) for warning in self.warnings]
        if self.verdicts:
            said["auditAnnotations"] = {"verdict": ", ".join(self.verdicts)}
        return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": said}


def inquire(review: Review, objects: Iterable[PactConsumer | PactProvider]) -> Inquiry:
    """Finds out what the gate must be asked.

    Args:
        review: what the API server asks.
        objects: those of the Deployment's namespace, in any order.

    Returns:
        One question for each object whose version the Deployment would change.
    """
    asks: list[Ask] = []
    warnings: list[str] = []
    named = [found for found in objects if _names(found, review.name)]
    if not named:
        warnings.append(
            f"The gate was not asked: no PactProvider or PactConsumer reads its version from Deployment {review.name}."
        )
    for found in sorted(named, key=_title):
        owner = _title(found)
        version = resolve(found.spec.version, review.new)
        if isinstance(version, Unresolved):
            warnings.append(f"The gate was not asked for {owner}: {version.message}")
        elif review.old is None or resolve(found.spec.version, review.old) != version:
            asks.append(Ask(owner, found.spec.broker_ref.name, found.spec.pacticipant, version))
    return Inquiry(tuple(asks), tuple(warnings))


def without_environment(ask: Ask) -> str:
    """The warning of a question that cannot be asked, as nobody has said where the namespace is."""
    return f"The gate was not asked for {ask.owner}: set spec.environment of PactBroker {ask.broker}."


def respond(inquiry: Inquiry, answers: Sequence[Decision]) -> Response:
    """The answer to the API server.

    Args:
        inquiry: what had to be asked.
        answers: the gate's decisions; one no is a no.
    """
    verdicts = tuple(str(decision.verdict) for decision in answers)
    refused = [decision for decision in answers if not decision.allowed]
    warnings = [*inquiry.warnings, *(_let_pass(decision) for decision in answers if _passes_without_yes(decision))]
    if not refused:
        return Response(True, warnings=tuple(warnings), verdicts=verdicts)
    return Response(False, " ".join(_refusal(decision) for decision in refused), tuple(warnings), verdicts)


def _names(found: PactConsumer | PactProvider, deployment: str) -> bool:
    ref = found.spec.version.from_workload
    return ref is not None and ref.name == deployment


def _title(found: PactConsumer | PactProvider) -> str:
    return f"{type(found).__name__} {found.metadata.name}"


def _passes_without_yes(decision: Decision) -> bool:
    return decision.allowed and str(decision.verdict) != "Allowed"


def _let_pass(decision: Decision) -> str:
    return f"The gate lets {_who(decision)} pass ({decision.verdict}): {decision.message}"


def _refusal(decision: Decision) -> str:
    wait = " Try again in a while." if decision.retry else ""
    environment = decision.question.environment
    where = f"go to {environment}" if environment else "be rolled out"
    return (
        f"{_who(decision)} may not {where} ({decision.verdict}): "
        f"{_sentence(decision.message)} What to do: {_sentence(decision.next_step)}{wait}"
    )


def _who(decision: Decision) -> str:
    return f"{decision.question.pacticipant} {decision.question.version}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "...")) else f"{text}."


def review_of(body: object, facts: Callable[[Mapping[str, Any]], WorkloadFacts]) -> Review | str:
    """Reads an `AdmissionReview` with distrust.

    Args:
        body: parsed JSON.
        facts: reads a Deployment.

    Returns:
        What is asked, or one sentence that says what is wrong with it.
    """
    request = body.get("request") if isinstance(body, Mapping) else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        return "Send an AdmissionReview of admission.k8s.io/v1 with a request."
    if request.get("operation") not in ("CREATE", "UPDATE"):
        return "Only CREATE and UPDATE are answered: see the rules of the ValidatingWebhookConfiguration."
    new, old = request.get("object"), request.get("oldObject")
    try:
        if not isinstance(new, Mapping) or new.get("kind") != "Deployment":
            return "Only Deployments of apps/v1 are answered: see the rules of the ValidatingWebhookConfiguration."
        name = new["metadata"].get("name") or request.get("name") or new["metadata"].get("generateName", "")
        named = {**new, "metadata": {**new["metadata"], "name": name}}
        return Review(
            uid=request["uid"],
            namespace=str(request.get("namespace", "")),
            name=str(name),
            new=facts(named),
            old=facts(old) if isinstance(old, Mapping) else None,
            dry_run=request.get("dryRun") is True,
        )
    except (AttributeError, KeyError, TypeError):
        return "The Deployment in the AdmissionReview is none that the API server would send."
