"""How far the rollout of a Deployment is, as `kubectl rollout status` has it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Rollout(StrEnum):
    """What a Deployment runs, as far as that can be said."""

    NOTHING = "Nothing"
    """It is scaled to zero, and its last Pod is gone."""
    COMPLETE = "Complete"
    """Its controller has seen the present spec, every replica is updated and available, and no old one is left."""
    PROGRESSING = "Progressing"
    FAILED = "Failed"
    """It did not get on within `spec.progressDeadlineSeconds`."""


def rollout(body: Mapping[str, Any]) -> Rollout:
    """Tells how far the rollout of a Deployment is.

    Args:
        body: an `apps/v1` Deployment.

    Returns:
        `PROGRESSING` for whatever cannot be told yet, a Deployment whose controller has not seen its present spec among
        it: what its status says then is about another one.
    """
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if _number(status, "observedGeneration") < _number(body.get("metadata") or {}, "generation"):
        return Rollout.PROGRESSING
    wanted = _number(spec, "replicas", 1)
    there, updated = _number(status, "replicas"), _number(status, "updatedReplicas")
    if wanted == 0:
        return Rollout.NOTHING if there == 0 else Rollout.PROGRESSING
    if updated >= wanted and there <= updated and _number(status, "availableReplicas") >= updated:
        return Rollout.COMPLETE
    late = any(
        condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in status.get("conditions") or ()
    )
    return Rollout.FAILED if late else Rollout.PROGRESSING


def _number(where: Mapping[str, Any], field: str, absent: int = 0) -> int:
    value = where.get(field)
    return absent if value is None else int(value)
