"""When a rollout counts as completed: as `kubectl rollout status` has it."""

from typing import Any

import pytest

from pact_operator.core.rollout import Rollout, rollout


def deployment(wanted: int | None = 2, generation: int = 3, **status: Any) -> dict[str, Any]:
    there = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    spec = {} if wanted is None else {"replicas": wanted}
    kept = {key: value for key, value in (there | status).items() if value is not None}
    return {"metadata": {"generation": generation}, "spec": spec, "status": kept}


LATE = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (deployment(), Rollout.COMPLETE),
        (deployment(None, replicas=1, updatedReplicas=1, availableReplicas=1), Rollout.COMPLETE),
        (deployment(generation=4), Rollout.PROGRESSING),
        (deployment(3), Rollout.PROGRESSING),
        (deployment(updatedReplicas=1), Rollout.PROGRESSING),
        (deployment(replicas=3), Rollout.PROGRESSING),
        (deployment(availableReplicas=1), Rollout.PROGRESSING),
        (deployment(availableReplicas=None), Rollout.PROGRESSING),
        (deployment(availableReplicas=1, conditions=LATE), Rollout.FAILED),
        (deployment(conditions=LATE), Rollout.COMPLETE),
        (deployment(availableReplicas=1, generation=4, conditions=LATE), Rollout.PROGRESSING),
        (deployment(0), Rollout.PROGRESSING),
        (deployment(0, replicas=None, updatedReplicas=None, availableReplicas=None), Rollout.NOTHING),
        (deployment(0, 4, replicas=None, updatedReplicas=None), Rollout.PROGRESSING),
        ({"metadata": {"generation": 1}, "spec": {"replicas": 1}}, Rollout.PROGRESSING),
        ({}, Rollout.PROGRESSING),
    ],
)
def test_how_far_a_rollout_is(body: dict[str, Any], told: Rollout) -> None:
    assert rollout(body) is told
