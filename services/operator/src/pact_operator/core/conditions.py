"""Conditions as Kubernetes' API conventions want them: keyed by type, with transition times that mean something."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pact_operator.api.reasons import ADVICE, Actor, Reason
from pact_operator.api.v1alpha1 import Condition
from pact_operator.core.actions import Event
from pact_operator.core.times import rfc3339

MAX_MESSAGE: Final = 1024
MAX_NUMBER: Final = 2**53
"""The API server's integers have 64 bits, those of some who read its JSON have 53."""
MAX_LIST_BYTES: Final = 512 * 1024
"""Room for a list in a status: an object may have 1.5 MiB in all (etcd), its spec and its history included."""

QUIET: Final = frozenset(
    {
        Reason.PENDING,
        Reason.RUNNING,
        Reason.CONFIRMING,
        Reason.REGISTERING,
        Reason.TESTS_RUNNING,
        Reason.VERIFICATION_PENDING,
        Reason.IN_SYNC,
        Reason.MAIN_BRANCH_SET,
        Reason.DISABLED,
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.RECORDING,
    }
)
"""Reasons that come and go with every healthy run: they are no Events."""


@dataclass(frozen=True, slots=True)
class Cond:
    """A condition as a decision states it; times and generation are added when it is merged."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str
    guides: bool = True
    """Whether what it needs can be what the object needs next."""


def clean(text: str, limit: int = MAX_MESSAGE) -> str:
    """Makes any text fit for a condition: one line, no control characters, bounded.

    Args:
        text: possibly hostile text, such as a termination message or a broker's answer.
        limit: the most characters to keep.

    Returns:
        The text, its end replaced by an ellipsis where it was too long.
    """
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def tidy(value: Any) -> Any:
    """Makes any JSON fit to be shown: no control characters in its texts, no number beyond 64 bits.

    Args:
        value: such as a status, the part included that was there before.

    Returns:
        The same, with a space for every character that cannot be printed.
    """
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, Mapping):
        return {tidy(key): tidy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-MAX_NUMBER, min(MAX_NUMBER, value))
    return value


def within(entries: Iterable[Mapping[str, Any]], room: int = MAX_LIST_BYTES) -> list[Mapping[str, Any]]:
    """Keeps as many entries of a status from the start as the API server has room for.

    Args:
        entries: in order of importance.
        room: bytes of JSON that they may take.
    """
    kept = []
    for entry in entries:
        room -= len(json.dumps(entry, ensure_ascii=False).encode(errors="replace")) + 1
        if room < 0:
            break
        kept.append(entry)
    return kept


def merge(observed: Sequence[Condition], stated: Iterable[Cond], now: float, generation: int) -> list[dict[str, Any]]:
    """Merges what is stated now into what was observed.

    Args:
        observed: the conditions of the object as it is.
        stated: the conditions that hold now; types that are not stated are dropped.
        now: seconds since the epoch.
        generation: `metadata.generation` of the object.

    Returns:
        The new list, in the order stated. `lastTransitionTime` moves only when the status changes.
    """
    before = {condition.type: condition for condition in observed}
    merged = []
    for cond in stated:
        old = before.get(cond.type)
        kept = old is not None and old.status == cond.status and old.last_transition_time
        merged.append(
            {
                "type": cond.type,
                "status": cond.status,
                "reason": str(cond.reason),
                "message": clean(cond.message),
                "observedGeneration": generation,
                "lastTransitionTime": tidy(old.last_transition_time) if old and kept else rfc3339(now),
            }
        )
    return merged


def status_of(
    observed: Sequence[Condition],
    stated: Sequence[Cond],
    now: float,
    generation: int,
    kept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What every status has: the conditions, and in plain words who must act on them and how.

    Args:
        observed: the conditions of the object as it is.
        stated: the conditions that hold now, the one that sums the object up first.
        now: seconds since the epoch.
        generation: `metadata.generation` of the object.
        kept: what else the status goes on saying.

    Returns:
        `kept` with `observedGeneration`, `conditions`, and `actor` and `nextStep` unless all is well. A place in a
        queue is not kept: who does not say that he waits does not.
    """
    rest = {key: value for key, value in (kept or {}).items() if key not in ("actor", "nextStep", "queuedSince")}
    return {
        **rest,
        "observedGeneration": generation,
        **_guide(stated),
        "conditions": merge(observed, stated, now, generation),
    }


def with_condition(
    status: Mapping[str, Any],
    kind: str,
    told: Cond | None,
    observed: Sequence[Condition],
    now: float,
    generation: int,
) -> dict[str, Any]:
    """Adds a condition to a status that is made up already, or takes it away, and says what to do next in its light.

    Args:
        status: with `conditions`.
        kind: type of the condition.
        told: the condition; None: it is no longer stated.
        observed: the conditions of the object as it is.
        now: seconds since the epoch.
        generation: `metadata.generation` of the object.
    """
    others = [condition for condition in status["conditions"] if condition["type"] != kind]
    if told is None:
        if len(others) == len(status["conditions"]):
            return dict(status)
        rest = {key: value for key, value in status.items() if key not in ("actor", "nextStep")}
        return {**rest, **_guide_of(others), "conditions": others}
    nobody = status.get("actor") in (None, str(Actor.NOBODY))
    return {
        **status,
        **(_guide((told,)) if nobody and told.guides and acting(told.reason) else {}),
        "conditions": [*others, *merge(observed, (told,), now, generation)],
    }


def _guide_of(conditions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What to do next, from conditions as they are written; one that is True wants nobody."""
    reasons = {str(reason): reason for reason in Reason}
    stated = [
        Cond(one["type"], one["status"], reasons[one["reason"]], one["message"], guides=one["status"] != "True")
        for one in conditions
        if one["reason"] in reasons
    ]
    return _guide(stated) if stated else {}


def acting(reason: Reason) -> bool:
    """Whether a reason wants somebody to act, and not only to wait."""
    return ADVICE[reason].actor not in (Actor.NONE, Actor.NOBODY)


def _guide(stated: Sequence[Cond]) -> dict[str, str]:
    """The first condition that wants somebody to act is what an object needs next, else the one that sums it up."""
    told = next((cond for cond in stated if cond.guides and acting(cond.reason)), stated[0])
    advice = ADVICE[told.reason]
    return {} if advice.actor is Actor.NONE else {"actor": str(advice.actor), "nextStep": advice.next_step}


def events(observed: Sequence[Condition], stated: Iterable[Cond]) -> tuple[Event, ...]:
    """The Events that a change of conditions deserves: one per condition whose status or reason changed.

    Args:
        observed: the conditions of the object as it is.
        stated: the conditions that hold now.

    Returns:
        `Warning` for what somebody must act on, `Normal` for the rest; nothing for `QUIET` reasons.
    """
    before = {condition.type: (condition.status, condition.reason) for condition in observed}
    return tuple(
        Event(type="Normal" if _good(cond) else "Warning", reason=str(cond.reason), message=clean(cond.message))
        for cond in stated
        if cond.reason not in QUIET and before.get(cond.type) != (cond.status, str(cond.reason))
    )


def _good(cond: Cond) -> bool:
    return cond.status == "True" or cond.reason in (Reason.NOTHING_TO_VERIFY, Reason.SUSPENDED)
