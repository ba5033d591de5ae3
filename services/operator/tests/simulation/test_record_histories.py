"""Rollouts, scaling, deletion, records made by hand and every fault of the other histories: the record comes right.

At every moment: no version is recorded that does not exist or whose rollout has not completed, none twice, none over
what a person has recorded.
"""

import logging
import os

import pytest

from pact_operator.api import names
from services.operator.tests.simulation.record_sim import RecordSim
from services.operator.tests.simulation.sim import Faults
from services.operator.tests.simulation.test_histories import BATCH, ONLY, Storm, calm, quiet

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "150"))
SEEDS = [int(ONLY)] if ONLY else list(range(HISTORIES))


class RecordStorm(Storm):
    """What else happens to Deployments and to the broker's record of them."""

    sim: RecordSim

    def __init__(self, sim: RecordSim) -> None:
        super().__init__(sim)
        self.sim = sim

    def choices(self) -> list[str]:
        more = [
            "scale_down",
            "scale_up",
            "take_away",
            "stall",
            "lose_pod",
            "by_hand",
            "by_hand",
            "ask_record",
            "roll_back",
        ]
        return super().choices() + more * (self.sim.rng.random() < 0.25)

    def scale_down(self) -> None:
        self._scale(self.any_provider(), 0)

    def scale_up(self) -> None:
        self._scale(self.any_provider(), self.sim.rng.choice([1, 3]))

    def _scale(self, name: str, replicas: int) -> None:
        if self.sim.deployment(name) is not None:
            self.sim.scale(name, replicas)
            self.sim.history.append(f"{name} is scaled to {replicas}")

    def take_away(self) -> None:
        name = self.any_provider()
        self.sim.take_away(name)
        self.sim.history.append(f"Deployment {name} is deleted")

    def stall(self) -> None:
        name = self.any_provider()
        self.sim.stall(name)
        self.sim.history.append(f"the rollout of {name} stalls")

    def lose_pod(self) -> None:
        name = self.any_provider()
        if self.sim.deployment(name) is not None:
            self.sim.lose_pod(name)
            self.sim.history.append(f"{name} loses a Pod")

    def roll_back(self) -> None:
        name = self.any_provider()
        earlier = sorted(version for version in self.sim.completed if version.startswith(f"{name}-"))
        if earlier:
            version = self.sim.rng.choice(earlier)
            self.sim.roll_out(name, version)
            self.sim.history.append(f"{name} is rolled back to {version}")

    def by_hand(self) -> None:
        name = self.any_provider()
        known = sorted({pair[2] for pair in self.sim.broker.published if pair[2].startswith(f"{name}-")})
        version = self.sim.rng.choice([None, *known])
        self.sim.record_by_hand(name, version)
        self.sim.history.append(f"by hand: {name} {version}")

    def ask_record(self) -> None:
        name = self.any_provider()
        self.sim.ask_for_a_record(name)
        self.sim.history.append(f"a person asks to record {name}")


@pytest.mark.parametrize(
    "batch", [SEEDS[i : i + BATCH] for i in range(0, len(SEEDS), BATCH)], ids=lambda b: f"{b[0]}-{b[-1]}"
)
def test_after_the_faults_what_runs_is_recorded(batch: list[int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for seed in batch:
        sim = RecordSim(seed)
        try:
            sim.faults = Faults(
                cluster=sim.rng.choice([0, 0.05, 0.2]),
                broker=sim.rng.choice([0, 0.1, 0.3]),
                verifier=sim.rng.choice([0, 0.1]),
                merge=sim.rng.choice([0, 0.5]),
            )
            for name in sim.providers:
                sim.broker.heads[name, "web"] = f"sha-{name}"
            RecordStorm(sim).run(steps=sim.rng.randrange(50, 300))
            calm(sim)
            assert sim.converged() is None, sim.converged()
            quiet(sim)
        except BaseException:
            print(f"\nseed {seed}; replay: SIMULATION_SEED={seed} pytest {__file__}")
            print("\n".join(sim.history[-400:] if not ONLY else sim.history))
            raise


def test_a_quiet_world_records_each_rollout_once() -> None:
    sim = RecordSim(0)
    for name in sim.providers:
        sim.broker.heads[name, "web"] = f"sha-{name}"
    for number in (1, 2):
        for name in sim.providers:
            sim.roll_out(name, f"{name}-{number}")
        calm(sim)
        assert sim.converged() is None, sim.converged()
        assert sim.broker.records == number * len(sim.providers)
    sim.crash()
    calm(sim)
    assert sim.broker.records == 2 * len(sim.providers), "a restart records nothing again"


def test_observing_records_nothing() -> None:
    sim = RecordSim(1)
    sim.edit_broker(recording={"mode": "Observe"})
    for name in sim.providers:
        sim.broker.heads[name, "web"] = f"sha-{name}"
    calm(sim, seconds=600)
    assert sim.broker.records == 0
    for name in sim.providers:
        told = next(c for c in sim.provider(name)["status"]["conditions"] if c["type"] == "Recorded")
        assert told["reason"] == "Drift"
    assert names.ANNOTATION_RECORD not in str(sim.api.objects)
