"""What the objects of the operator say, read from their JSON. Pure: nothing here asks anybody."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from pactctl.exits import Exit, PactctlError

Object = Mapping[str, Any]
"""An object as the API server holds it, as JSON."""

GROUP: Final = "pact-operator.dev"
VERSION: Final = "v1alpha1"
ANNOTATION_RECORD: Final = f"{GROUP}/record-requested-at"
LABEL_PROVIDER: Final = f"{GROUP}/provider"


@dataclass(frozen=True)
class Kind:
    """One of the operator's kinds.

    Attributes:
        name: such as `PactProvider`.
        plural: as in URLs.
        short: short name of `kubectl get`.
        main: type of the condition that says how it stands.
    """

    name: str
    plural: str
    short: str
    main: str = "Ready"

    @property
    def singular(self) -> str:
        """As in `kubectl get pactprovider/NAME`."""
        return self.name.lower()


BROKER: Final = Kind("PactBroker", "pactbrokers", "pbk")
CONSUMER: Final = Kind("PactConsumer", "pactconsumers", "pcon")
PROVIDER: Final = Kind("PactProvider", "pactproviders", "pprov")
VERIFICATION: Final = Kind("PactVerification", "pactverifications", "pver", "Succeeded")
KINDS: Final = (BROKER, CONSUMER, PROVIDER, VERIFICATION)


@dataclass(frozen=True)
class Condition:
    """One condition of an object; all empty where it has none of that type."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Advice:
    """Who must act on a reason, what to do next, and whether it is tried again by itself."""

    actor: str
    next_step: str
    retried: bool


@dataclass(frozen=True)
class Row:
    """One contract of one provider version: a cell of the matrix."""

    namespace: str
    consumer: str
    content: str
    provider: str
    version: str
    current: bool
    candidate: bool
    state: str
    reason: str
    message: str
    run: str

    def shown(self) -> dict[str, Any]:
        """For `-o json`: camelCase."""
        return {
            "namespace": self.namespace,
            "consumer": self.consumer,
            "contentSha": self.content,
            "provider": self.provider,
            "providerVersion": self.version,
            "current": self.current,
            "candidate": self.candidate,
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "verification": self.run,
        }


@dataclass(frozen=True)
class Deployment:
    """What runs of one object, and what the broker holds as deployed."""

    namespace: str
    object: str
    pacticipant: str
    environment: str
    instance: str
    running: str
    in_broker: tuple[str, ...]
    recorded: str
    status: str
    reason: str
    message: str

    @property
    def drifts(self) -> bool:
        """Whether cluster and broker differ."""
        return self.reason == "Drift"

    def shown(self) -> dict[str, Any]:
        """For `-o json`: camelCase."""
        return {
            "namespace": self.namespace,
            "object": self.object,
            "pacticipant": self.pacticipant,
            "environment": self.environment,
            "applicationInstance": self.instance or None,
            "running": self.running or None,
            "inBroker": list(self.in_broker),
            "recorded": self.recorded or None,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
        }


def kind_named(text: str) -> Kind | None:
    """A kind by any name that kubectl takes: kind, singular, plural, short name, any of them with the group."""
    wanted = text.lower().removesuffix(f".{GROUP}")
    return next((kind for kind in KINDS if wanted in (kind.singular, kind.plural, kind.short)), None)


def kind_of(found: Object) -> Kind:
    """The kind of an object of ours."""
    return next(kind for kind in KINDS if kind.name == found["kind"])


def reference(text: str) -> tuple[Kind | None, str]:
    """Reads how a person names an object.

    Args:
        text: `KIND/NAME`, or the name alone.

    Raises:
        PactctlError: the kind is none of ours, or the name is missing.
    """
    before, slash, after = text.partition("/")
    if not slash:
        return None, text
    kind = kind_named(before)
    if kind is None or not after:
        known = ", ".join(kind.singular for kind in KINDS)
        raise PactctlError(f"{text!r} names no object of ours: write KIND/NAME with a kind of {known}.", Exit.USAGE)
    return kind, after


def named(found: Object) -> str:
    """`pactprovider/flask-provider`."""
    return f"{kind_of(found).singular}/{found['metadata']['name']}"


def namespace_of(found: Object) -> str:
    """The namespace of an object."""
    return str(found["metadata"].get("namespace", ""))


def conditions(found: Object) -> list[Condition]:
    """All conditions of an object, in its order."""
    return [
        Condition(
            str(one.get("type", "")),
            str(one.get("status", "")),
            str(one.get("reason", "")),
            str(one.get("message", "")),
        )
        for one in (found.get("status") or {}).get("conditions") or ()
    ]


def condition(found: Object, kind: str) -> Condition:
    """A condition of an object, by its type."""
    return next((one for one in conditions(found) if one.type == kind), Condition(kind))


def standing(found: Object) -> Condition:
    """The condition that says how an object stands: `Ready`, or `Succeeded` of a run."""
    return condition(found, kind_of(found).main)


def is_current(found: Object) -> bool:
    """Whether the operator has seen the object's present spec."""
    seen = (found.get("status") or {}).get("observedGeneration")
    return seen is not None and seen >= found["metadata"].get("generation", 0)


def version_of(found: Object) -> str:
    """The version that an object speaks of."""
    spec, status = found.get("spec") or {}, found.get("status") or {}
    return str(status.get("version") or spec.get("providerVersion") or (spec.get("version") or {}).get("value") or "")


def matrix(objects: Iterable[Object]) -> list[Row]:
    """The contracts of all PactProviders, what needs attention first; those of versions only asked about come last.

    Args:
        objects: of any of our kinds.
    """
    order = {"Failed": 0, "Blocked": 1, "Owed": 2, "Running": 3, "PendingFailed": 4, "Verified": 5}
    rows = [row for found in objects if found["kind"] == PROVIDER.name for row in _rows(found)]
    return sorted(
        rows,
        key=lambda row: (
            row.candidate,
            order.get(row.state, 9),
            row.namespace,
            row.provider,
            row.consumer,
            row.version,
        ),
    )


def _rows(provider: Object) -> Iterator[Row]:
    current = version_of(provider)
    status = provider.get("status") or {}
    asked_about = {str(one.get("version", "")) for one in status.get("candidates") or ()}
    for contract in status.get("contracts") or ():
        version = str(contract.get("providerVersion", ""))
        yield Row(
            namespace=namespace_of(provider),
            consumer=str(contract.get("consumer", "")),
            content=str(contract.get("contentSha", "")),
            provider=str((provider.get("spec") or {}).get("pacticipant", "")),
            version=version,
            current=version == current,
            candidate=version in asked_about and version != current,
            state=str(contract.get("state", "")),
            reason=str(contract.get("reason", "")),
            message=str(contract.get("message", "")),
            run=str(contract.get("verification", "")),
        )


def deployments(objects: Iterable[Object]) -> list[Deployment]:
    """What runs and what the broker holds, for every object that has a condition `Recorded`; drift first."""
    found = [one for one in map(_deployment, objects) if one is not None]
    return sorted(found, key=lambda one: (one.status == "True", one.namespace, one.object))


def _deployment(found: Object) -> Deployment | None:
    recorded = condition(found, "Recorded")
    if not recorded.status:
        return None
    told = (found.get("status") or {}).get("deployment") or {}
    return Deployment(
        namespace=namespace_of(found),
        object=named(found),
        pacticipant=str((found.get("spec") or {}).get("pacticipant", "")),
        environment=str(told.get("environment") or ""),
        instance=str(told.get("applicationInstance") or ""),
        running=str(told.get("running") or ""),
        in_broker=tuple(str(version) for version in told.get("inBroker") or ()),
        recorded=str(told.get("recorded") or ""),
        status=recorded.status,
        reason=recorded.reason,
        message=recorded.message,
    )


def verdict(run: Object) -> Exit | None:
    """How a PactVerification ended, as an exit code; None while it has not."""
    if not (run.get("status") or {}).get("completionTime"):
        return None
    succeeded = standing(run)
    if succeeded.status == "True":
        return Exit.YES
    if succeeded.reason == "NothingToVerify":
        return Exit.NOTHING
    return Exit.NO if succeeded.reason == "ContractBroken" else Exit.UNAVAILABLE


@cache
def _advice() -> Mapping[str, Advice]:
    text = resources.files("pactctl").joinpath("reasons.json").read_text(encoding="utf-8")
    return {
        reason: Advice(told["actor"], told["nextStep"], told["retried"]) for reason, told in json.loads(text).items()
    }


def advice(reason: str) -> Advice | None:
    """What the operator's own table says of a reason; None for one that a newer operator may have."""
    return _advice().get(reason)


def image_tag(image: str) -> str:
    """The tag of an image reference; empty if it has none."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] if ":" in name else ""


def candidate(
    provider: Object, image: str, version: str, *, publish: bool, container: str | None, asked_at: str
) -> dict[str, Any]:
    """The PactVerification that asks whether an image keeps the contracts of a provider.

    Args:
        provider: the PactProvider whose target, states and selectors count.
        image: the candidate's image.
        version: its version; results would be published for it.
        publish: whether to publish the results.
        container: the container that gets the image; else the one whose image names `{version}`, else the first.
        asked_at: when it was asked for; the same image asked about again is another run.

    Raises:
        PactctlError: the provider has no target that an image can be started for.
    """
    meta, spec = provider["metadata"], provider["spec"]
    target = json.loads(json.dumps(spec.get("target") or {}))
    if "ephemeral" not in target:
        raise PactctlError(
            f"{named(provider)} is verified as a live Service: there is no Pod template to start {image} from. "
            "Give it spec.target.ephemeral.",
            Exit.USAGE,
        )
    _chosen(target["ephemeral"].get("template") or {}, container, named(provider))["image"] = image
    unique = hashlib.sha256("\0".join([meta.get("uid", ""), image, version, asked_at]).encode()).hexdigest()[:10]
    wanted: dict[str, Any] = {
        "brokerRef": spec["brokerRef"],
        "pacticipant": spec["pacticipant"],
        "providerVersion": version,
        "target": target,
        "publishResults": publish,
    }
    for field in ("providerStates", "messagePath", "enablePending", "run"):
        if field in spec:
            wanted[field] = spec[field]
    if spec.get("branch"):
        wanted["providerBranch"] = spec["branch"]
    if spec.get("selectors"):
        wanted["selectors"] = spec["selectors"]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": VERIFICATION.name,
        "metadata": {
            "name": f"{meta['name'][:40].rstrip('-.')}-candidate-{unique}",
            "namespace": meta["namespace"],
            # No controller: it is not one of the provider's own runs, and goes with it all the same.
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": PROVIDER.name,
                    "name": meta["name"],
                    "uid": meta.get("uid", ""),
                }
            ],
        },
        "spec": wanted,
    }


def _chosen(template: dict[str, Any], container: str | None, where: str) -> dict[str, Any]:
    containers: Sequence[dict[str, Any]] = (template.get("spec") or {}).get("containers") or ()
    if container is not None:
        chosen = next((one for one in containers if one.get("name") == container), None)
    else:
        versioned = (one for one in containers if "{version}" in str(one.get("image", "")))
        chosen = next(versioned, containers[0] if containers else None)
    if chosen is None:
        known = ", ".join(str(one.get("name")) for one in containers) or "none"
        raise PactctlError(f"The Pod template of {where} has no container {container!r}: it has {known}.", Exit.USAGE)
    return chosen
