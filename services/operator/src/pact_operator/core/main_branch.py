"""The main branch of a pacticipant, as code: made where the broker has none, never changed where somebody set one."""

from collections.abc import Mapping
from typing import Final

from pact_operator.api.reasons import Reason
from pact_operator.core.actions import EnsureMainBranch
from pact_operator.core.conditions import Cond
from pact_operator.core.facts import Failure, Trouble
from pact_operator.core.outcome import known

KIND: Final = "MainBranchSet"
AGAIN_SECONDS: Final = 1.0
"""How soon after it was written it is looked whether the broker has it."""


def plan_main_branch(
    wanted: str | None, pacticipant: str, held: str | Failure | None, failed: Mapping[str, Failure]
) -> tuple[tuple[Cond, ...], tuple[EnsureMainBranch, ...]]:
    """Decides what a pacticipant's main branch needs.

    Args:
        wanted: `spec.mainBranch`; None leaves the broker alone.
        pacticipant: whose.
        held: what the broker has; None: no main branch, or no such pacticipant.
        failed: actions of the same look that failed.

    Returns:
        The condition, if one is stated at all, and what to do.
    """
    if wanted is None:
        return (), ()
    if isinstance(held, Failure):
        return (Cond(KIND, "Unknown", known(held.trouble, Reason.BROKER_UNAVAILABLE), held.message),), ()
    if held == wanted:
        return (Cond(KIND, "True", Reason.MAIN_BRANCH_SET, f"The main branch of {pacticipant!r} is {wanted!r}."),), ()
    if held:
        why = f"The broker has {held!r} as the main branch of {pacticipant!r}, spec.mainBranch says {wanted!r}."
        return (Cond(KIND, "False", Reason.MAIN_BRANCH_DIFFERS, why),), ()
    ensure = EnsureMainBranch(pacticipant, wanted)
    if failure := failed.get("EnsureMainBranch"):
        refused = failure.trouble is Trouble.REFUSED
        reason = Reason.INVALID_SPEC if refused else known(failure.trouble, Reason.BROKER_UNAVAILABLE)
        return (Cond(KIND, "False", reason, failure.message),), (ensure,)
    return (Cond(KIND, "Unknown", Reason.REGISTERING, "Being written to the broker."),), (ensure,)
