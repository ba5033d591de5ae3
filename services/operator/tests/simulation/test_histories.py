"""Whatever goes wrong, and in whatever order: once it stops, the world is as it should be, and no verdict was wrong.

`SIMULATION_HISTORIES=10000 pytest services/operator/tests/simulation` runs as many, with `SIMULATION_FIRST=10000` from
another first seed; `SIMULATION_SEED=17` replays one and prints its history.
"""

import itertools
import logging
import os

import pytest

from pact_operator.api import names
from services.operator.tests.simulation.sim import NS, Faults, Sim

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "300"))
ONLY = os.environ.get("SIMULATION_SEED")
FIRST = int(os.environ.get("SIMULATION_FIRST", "0"))
SEEDS = [int(ONLY)] if ONLY else list(range(FIRST, FIRST + HISTORIES))
BATCH = 25


class Storm:
    """Everything happens, in any order, and some of it goes wrong."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.numbers = itertools.count(2)
        self.asked: dict[str, str] = {}
        """Provider -> the version that somebody last asked the gate about."""

    def run(self, steps: int) -> None:
        for _ in range(steps):
            getattr(self, self.sim.rng.choice(self.choices()))()
            self.sim.check()

    def choices(self) -> list[str]:
        """What can happen now. Weights keep histories deep: controllers do much between two acts of people."""
        sim = self.sim
        return (
            ["take"] * 6
            + ["advance"] * (25 if sim.looks else 0)
            + ["deliver"] * (15 if self.streams() else 0)
            + ["kubernetes"] * (8 if sim.work_of_kubernetes() else 0)
            + ["time", "time", "repeat"]
            + ["publish", "crash"] * (sim.rng.random() < 0.5)
            # What is away comes back soon, or nothing could happen any more.
            + (["outage"] * 4 if sim.broker.down else ["outage"] * (sim.rng.random() < 0.4))
            + ["broker"] * (1 if self.has_broker() else 6) * (sim.rng.random() < 0.3)
            + ["rollout", "request", "lose", "deploy", "ask", "more_places", "rotate", "unhook"]
            * (sim.rng.random() < 0.15)
        )

    def has_broker(self) -> bool:
        return (names.BROKER, "broker") in self.sim.api.objects

    def streams(self) -> list[str]:
        return [kind for kind, waiting in self.sim.api.streams.items() if waiting]

    def take(self) -> None:
        self.sim.take()

    def advance(self) -> None:
        self.sim.advance(self.sim.rng.randrange(len(self.sim.looks)))

    def deliver(self) -> None:
        self.sim.deliver(self.sim.rng.choice(self.streams()), merge=self.sim.rng.random() < self.sim.faults.merge)

    def kubernetes(self) -> None:
        what, name = self.sim.rng.choice(self.sim.work_of_kubernetes())
        self.sim.history.append(f"kubernetes: {what} {name}")
        self.sim.kubernetes(what, name)

    def time(self) -> None:
        seconds = self.sim.rng.choice([0.1, 1, 5, 31, 120])
        if seconds > 60:  # a watch lags by seconds, not by minutes: kopf ends a silent one
            for kind in self.streams():
                self.sim.deliver(kind, merge=True)
        self.sim.now += seconds

    def publish(self) -> None:
        consumer = self.sim.rng.choice(["web", "mobile", "batch"])
        # Often one consumer of all: then all want a place at the same moment.
        for name in self.sim.providers if self.sim.rng.random() < 0.4 else [self.any_provider()]:
            self.sim.broker.heads[name, consumer] = f"sha{next(self.numbers)}"
        self.sim.history.append(f"published: {self.sim.broker.heads}")

    def outage(self) -> None:
        self.sim.broker.down = not self.sim.broker.down
        self.sim.history.append(f"broker down: {self.sim.broker.down}")

    def crash(self) -> None:
        self.sim.history.append("CRASH")
        self.sim.crash()

    def rollout(self) -> None:
        name = self.any_provider()
        version = self.asked.pop(name, "") or f"{name}-{next(self.numbers)}"
        self.sim.edit_provider(name, version=version)
        self.sim.history.append(f"rollout of {version}")

    def deploy(self) -> None:
        """The current version is recorded as deployed - beside, or in place of, what was."""
        name = self.any_provider()
        deployed = self.sim.broker.deployed[name]
        if self.sim.rng.random() < 0.5:
            deployed.clear()
        deployed.insert(0, self.sim.version(name))
        self.sim.history.append(f"deployed: {deployed}")

    def ask(self) -> None:
        """Somebody asks the gate about a version before it is rolled out - which it may be next, or never."""
        name = self.any_provider()
        self.asked[name] = f"{name}-{next(self.numbers)}"
        self.sim.ask_gate(name, self.asked[name])
        self.sim.history.append(f"asked about {self.asked[name]}")

    def more_places(self) -> None:
        limit = self.sim.limit()
        if limit is not None and limit < 4:
            self.sim.edit_broker(maxConcurrentRuns=limit + 1)
            self.sim.history.append(f"{limit + 1} runs may be active at the same time")

    def request(self) -> None:
        name = self.any_provider()
        self.sim.edit_provider(name, request=f"at {self.sim.now}")
        self.sim.history.append(f"a person asks for another run of {name}")

    def repeat(self) -> None:
        self.sim.repeat()

    def rotate(self) -> None:
        self.sim.token = f"token-{next(self.numbers)}"
        self.sim.history.append(f"the hook token is rotated: {self.sim.token}")

    def unhook(self) -> None:
        enabled = not self.sim.broker_spec["webhook"]["enabled"]
        self.sim.edit_broker(webhook={"enabled": enabled})
        self.sim.history.append(f"webhook enabled: {enabled}")

    def broker(self) -> None:
        """The PactBroker is deleted, or made again where it has gone."""
        if not self.has_broker():
            self.sim.make_broker()
            self.sim.history.append("the PactBroker is made again")
        elif self.sim.rng.random() < 0.3:
            self.sim.delete_broker()
            self.sim.history.append("the PactBroker is deleted")

    def any_provider(self) -> str:
        return self.sim.rng.choice(self.sim.providers)

    def lose(self) -> None:
        victims = sorted(ref for ref in self.sim.api.objects if ref[0] in ("Job", "Pod"))
        if victims:
            victim = self.sim.rng.choice(victims)
            self.sim.history.append(f"lost: {victim}")
            self.sim.lose(victim)


def calm(sim: Sim, seconds: float = 3 * 3600) -> None:
    """No faults any more: hints arrive, the sweep goes round, and Kubernetes does its work."""
    sim.faults = Faults()
    sim.broker.down = False
    end = sim.now + seconds
    while sim.now < end:
        for kind in list(sim.api.streams):
            while sim.api.streams[kind]:
                sim.deliver(kind)
        while sim.take() or sim.looks:
            while sim.looks:
                sim.advance(0)
        todo = [(what, name) for what, name in sim.work_of_kubernetes() if what != "ttl"]
        for what, name in todo:
            if {("Job", name), ("Deployment", name)} & sim.api.objects.keys():
                sim.kubernetes(what, name)
        sim.check()
        if (names.BROKER, "broker") not in sim.api.objects:
            sim.make_broker()
        if not todo and not any(sim.api.streams.values()):
            if sim.converged() is None and len(sim.queue) == 0:
                return
            sim.now += max(0.05, min(sim.queue.wait_seconds() or 30.0, 60.0))


@pytest.mark.parametrize(
    "batch", [SEEDS[i : i + BATCH] for i in range(0, len(SEEDS), BATCH)], ids=lambda b: f"{b[0]}-{b[-1]}"
)
def test_after_the_faults_every_owed_pair_has_its_result(batch: list[int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    verdicts = 0
    for seed in batch:
        sim = Sim(seed)
        try:
            sim.faults = Faults(
                cluster=sim.rng.choice([0, 0.05, 0.2]),
                broker=sim.rng.choice([0, 0.1, 0.3]),
                verifier=sim.rng.choice([0, 0.1, 0.3]),
                merge=sim.rng.choice([0, 0.5]),
            )
            sim.broker.heads["users", "web"] = "sha0"
            Storm(sim).run(steps=sim.rng.randrange(80, 450))
            verdicts += sim.verdicts
            calm(sim)
            assert sim.converged() is None, sim.converged()
            quiet(sim)
            leave(sim)
        except BaseException:
            print(f"\nseed {seed}; replay: SIMULATION_SEED={seed} pytest {__file__}")
            print("\n".join(sim.history[-400:] if not ONLY else sim.history))
            raise
    assert verdicts >= len(batch) // 5, "hardly anything happened while things went wrong: that proves nothing"


def quiet(sim: Sim) -> None:
    """A converged world is left alone: sweeps ask, and write nothing; nothing is left over."""
    writes = dict(sim.api.writes)
    for _ in range(3):
        sim.now += 31
        for kind in list(sim.api.streams):
            while sim.api.streams[kind]:
                sim.deliver(kind)
        while sim.take() or sim.looks:
            while sim.looks:
                sim.advance(0)
    assert dict(sim.api.writes) == writes, "a look at a converged world wrote something"
    runs = sim.api.of(names.VERIFICATION)
    for name in sim.providers:
        of = [run for run in runs if run["metadata"]["labels"][names.LABEL_PROVIDER] == name]
        heads = [pair for pair in sim.broker.heads if pair[0] == name]
        assert len(of) <= 8 + len(heads) * len(sim.matters(name)), "runs are not cleaned up"
    owners = {run["metadata"]["uid"] for run in runs}
    assert all(job["metadata"]["ownerReferences"][0]["uid"] in owners for job in sim.api.of("Job")), "a Job leaked"
    assert {run["metadata"]["namespace"] for run in runs} <= {NS}


def leave(sim: Sim) -> None:
    """A PactBroker that is deleted takes its webhook along, or leaves after a minute where the broker is gone."""
    sim.broker.down = gone = sim.rng.random() < 0.3
    hooked, before = bool(sim.broker.webhooks), sim.left_behind
    sim.delete_broker()
    deadline = sim.now + 120
    while (names.BROKER, "broker") in sim.api.objects and sim.now < deadline:
        for kind in list(sim.api.streams):
            while sim.api.streams[kind]:
                sim.deliver(kind)
        while sim.take() or sim.looks:
            while sim.looks:
                sim.advance(0)
        sim.now += 1
    assert (names.BROKER, "broker") not in sim.api.objects, "the PactBroker does not go away"
    assert not sim.broker.webhooks
    assert sim.left_behind - before == (gone and hooked), "its webhook stays behind"


def test_a_quiet_world_verifies_each_pair_exactly_once() -> None:
    sim = Sim(0)
    for name in sim.providers:
        for consumer in ("web", "mobile"):
            sim.broker.heads[name, consumer] = f"sha-{name}"
    calm(sim)
    assert sim.converged() is None
    assert set(sim.broker.published.values()) == {1}
    # Both waited at the same moment: one run, one Job.
    assert sum(sim.job_creations.values()) == len(sim.providers)
