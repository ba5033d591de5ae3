"""Which version of a pacticipant is meant: a value, or what a workload runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pact_operator.api.reasons import Reason
from pact_operator.api.v1alpha1 import Target, VersionSource
from pact_operator.core.facts import WorkloadFacts


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No version can be told, and why."""

    reason: Reason
    message: str


MAX_VERSIONS: Final = 10
"""How many versions of a provider are looked after; a broker where releases pile up must not make a storm of Jobs."""


def runs_any_version(target: Target) -> bool:
    """Whether other versions than the current one can be started: one of the images names `{version}`."""
    spec = (target.ephemeral.template.get("spec") or {}) if target.ephemeral else {}
    return any("{version}" in str(container.get("image", "")) for container in spec.get("containers") or ())


MAX_CANDIDATES: Final = 5
"""And how many besides that were only asked about."""

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""A tag as the OCI distribution specification has it."""


def that_matter(current: str, in_use: Sequence[str], target: Target) -> tuple[str, ...]:
    """The provider versions that contracts must hold for.

    Args:
        current: the version of the object.
        in_use: versions that the broker holds as deployed or released, newest first.
        target: what the verifier speaks to.

    Returns:
        The current one first; the others only where an image of theirs can be named: a version that is no image tag
        has none.
    """
    if not runs_any_version(target):
        return (current,)
    # Whoever may record a deployment in the broker must not get to choose the image, only its tag.
    others = [version for version in dict.fromkeys(in_use) if version != current and _TAG.fullmatch(version)]
    return (current, *others)[:MAX_VERSIONS]


def can_be_started(version: str, target: Target) -> bool:
    """Whether an image of this very version can be named: then it can be verified before anything runs it."""
    return runs_any_version(target) and _TAG.fullmatch(version) is not None


def image_tag(image: str) -> str | None:
    """Reads the tag of an image reference.

    Args:
        image: such as `registry:5000/team/app:1.2.3@sha256:...`.

    Returns:
        `1.2.3`, or None for a reference without a tag.
    """
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] or None if ":" in name else None


def resolve(source: VersionSource, workload: WorkloadFacts | None) -> str | Unresolved:
    """Tells the version that a spec means.

    Args:
        source: `spec.version`.
        workload: the Deployment that it names, None if there is none.

    Returns:
        The version, or why there is none.
    """
    if source.value is not None:
        return source.value
    ref = source.from_workload
    if ref is None:
        return Unresolved(Reason.INVALID_SPEC, "spec.version: exactly one of value and fromWorkload must be set.")
    if workload is None:
        return Unresolved(
            Reason.WORKLOAD_NOT_FOUND,
            f"There is no Deployment {ref.name!r} in this namespace to read the version from.",
        )
    if ref.label is not None:
        if value := workload.labels.get(ref.label):
            return value
        return Unresolved(
            Reason.VERSION_UNKNOWN, f"The Pod template of Deployment {ref.name!r} has no label {ref.label!r}."
        )
    container = ref.container or next(iter(workload.containers), None)
    image = workload.containers.get(container) if container else None
    if image is None:
        return Unresolved(Reason.VERSION_UNKNOWN, f"Deployment {ref.name!r} has no container {container!r}.")
    if tag := image_tag(image):
        return tag
    return Unresolved(
        Reason.VERSION_UNKNOWN,
        f"The image {image!r} of Deployment {ref.name!r} has no tag to read a version from; "
        "tag it, or set spec.version.fromWorkload.label.",
    )
