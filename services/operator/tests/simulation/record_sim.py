"""The same world with Deployments: versions are rolled out, scaled and taken away, and the operator records them."""

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pact_operator.api import names
from pact_operator.core.facts import Key
from pact_operator.core.rollout import Rollout, rollout
from services.operator.tests.simulation.sim import NS, Sim

DEPLOYMENT = "Deployment"
GENTLE = ("observe", "update", "ready", "retire")


class RecordSim(Sim):
    """A history of rollouts; `pods` is what the Deployment controller has made of them."""

    def __init__(self, seed: int) -> None:
        self.pods: dict[str, Counter[tuple[str, bool]]] = {}
        """Provider -> (version, is available) -> number of Pods."""
        self.versions: dict[str, str] = {}
        self.completed: set[str] = set()
        """Versions whose rollout has ever completed."""
        self.stands: dict[str, str] = {}
        """Provider -> version that the operator knows to be recorded, though somebody has recorded otherwise since."""
        self.by_hand: dict[str, bool] = {}
        """Provider -> whether what the broker holds was last changed by a person."""
        self.asked: Counter[str] = Counter()
        super().__init__(seed)

    def _seed_objects(self) -> None:
        super()._seed_objects()
        self.has_environment = True
        self.edit_broker(environment={"name": "production"}, recording={"mode": "Record"})
        for name in self.providers:
            self.pods[name] = Counter()
            body = copy.deepcopy(self.provider(name))
            body["spec"]["version"] = {"fromWorkload": {"name": name}}
            self.api.put(body)
            self.roll_out(name, f"{name}-1")

    def version(self, name: str) -> str:
        return self.versions[name]

    def edit_provider(self, name: str, *, version: str | None = None, request: str | None = None) -> None:
        if version:
            self.roll_out(name, version)
        if request:
            super().edit_provider(name, request=request)

    def ask_for_a_record(self, name: str) -> None:
        body = copy.deepcopy(self.provider(name))
        body["metadata"].setdefault("annotations", {})[names.ANNOTATION_RECORD] = f"at {self.now}"
        self.asked[name] += 1
        self.stands.pop(name, None)
        self.api.put(body)

    # -- Deployments

    def deployment(self, name: str) -> dict[str, Any] | None:
        return self.api.objects.get((DEPLOYMENT, name))

    def roll_out(self, name: str, version: str, replicas: int = 2) -> None:
        """Somebody applies the Deployment: a version of the image, and how many Pods."""
        body = copy.deepcopy(self.deployment(name)) or {"kind": DEPLOYMENT, "metadata": {"name": name}}
        if version != self.versions.get(name) or replicas == 0:
            self.stands.pop(name, None)
        self.versions[name] = version
        template = {"spec": {"containers": [{"name": "app", "image": f"{name}:{version}"}]}}
        body["spec"] = {"replicas": replicas, "template": template}
        body["metadata"]["generation"] = body["metadata"].get("generation", 0) + 1
        body.setdefault("status", {}).pop("conditions", None)
        if self.deployment(name) is None:
            self.user_put(body)
        else:
            self.api.put(body)

    def scale(self, name: str, replicas: int) -> None:
        self.roll_out(name, self.versions[name], replicas)

    def take_away(self, name: str) -> None:
        self.pods[name].clear()
        self.stands.pop(name, None)
        self.api.remove((DEPLOYMENT, name))

    def stall(self, name: str) -> None:
        """The Deployment controller gives a rollout up; it may yet get on."""
        if (body := self.deployment(name)) is not None and rollout(body) is Rollout.PROGRESSING:
            late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            self.api.put({**copy.deepcopy(body), "status": {**body["status"], "conditions": [late]}})

    def work_of_kubernetes(self) -> list[tuple[str, str]]:
        todo = super().work_of_kubernetes()
        return todo + [(what, name) for name in self.providers if (what := self._next_step(name)) is not None]

    def _next_step(self, name: str) -> str | None:
        body = self.deployment(name)
        if body is None:
            return None
        if body["status"].get("observedGeneration") != body["metadata"]["generation"]:
            return "observe"
        pods, version, wanted = self.pods[name], self.versions[name], body["spec"]["replicas"]
        if pods[version, True] + pods[version, False] < wanted:
            return "update"
        if pods[version, False] and wanted:
            return "ready"
        return "retire" if sum(pods.values()) > wanted else None

    def kubernetes(self, what: str, name: str) -> None:
        if what not in GENTLE:
            super().kubernetes(what, name)
            return
        body = copy.deepcopy(self.deployment(name))
        assert body is not None
        pods, version = self.pods[name], self.versions[name]
        if what == "observe":
            body["status"]["observedGeneration"] = body["metadata"]["generation"]
        elif what == "update":
            pods[version, False] += 1
        elif what == "ready":
            pods[version, False] -= 1
            pods[version, True] += 1
        elif what == "retire":
            old = sorted(pod for pod, number in pods.items() if number and pod[0] != version)
            pods[old[0] if old else max(pod for pod, number in pods.items() if number)] -= 1
        new = pods[version, True] + pods[version, False]
        body["status"] |= {
            "replicas": sum(pods.values()),
            "updatedReplicas": new,
            "availableReplicas": sum(number for (_, available), number in pods.items() if available),
        }
        if rollout(body) is Rollout.COMPLETE:
            self.completed.add(version)
        self.api.put(body)

    def lose_pod(self, name: str) -> None:
        """A Pod dies: the rollout has completed all the same."""
        pods = self.pods[name]
        pod = (self.versions[name], True)
        if pods[pod]:
            pods[pod] -= 1
            body = copy.deepcopy(self.deployment(name))
            assert body is not None
            for field in ("replicas", "updatedReplicas", "availableReplicas"):
                body["status"][field] = body["status"].get(field, 0) - 1
            self.api.put(body)

    # -- the record

    def record_by_hand(self, name: str, version: str | None) -> None:
        """A person or a pipeline records a deployment, or an undeployment."""
        if self._knows_what_it_recorded(name):
            self.stands[name] = self.versions[name]
        before = list(self.broker.held[name])
        if version is None:
            self.broker.held[name] = []
        else:
            self.broker.record(name, version)
        self.by_hand[name] = self.by_hand.get(name, False) or before != self.broker.held[name]

    def _knows_what_it_recorded(self, name: str) -> bool:
        """Whether the operator has read back that what runs is recorded, and has written that down."""
        seen = self.snapshot.body(Key(names.PROVIDER, NS, name)) or {}
        last = (seen.get("status") or {}).get("deployment") or {}
        looked_at = any(key == Key(names.PROVIDER, NS, name) for key, _ in self.looks)
        version = self.versions[name]
        body = self.deployment(name)
        runs = body is not None and rollout(body) is Rollout.COMPLETE
        held = [one.version for one in self.broker.held[name]]
        return runs and not looked_at and last.get("recorded") == version and held == [version]

    def records(self, name: str, version: str) -> None:
        assert version in self.completed, f"{version} is recorded, its rollout has never completed"
        assert any(pair[2] == version for pair in self.broker.published), f"{version} does not exist"
        assert self.stands.get(name) != version, f"{version} is recorded once more over what a person has recorded"
        changed = self.broker.record(name, version)
        assert changed or self.by_hand.get(name), f"{version} is recorded twice"
        self.by_hand[name] = False
        self.history.append(f"  recorded: {name} {version}")

    def takes_back(self, uuid: str) -> None:
        [name] = [name for name, held in self.broker.held.items() if uuid in {one.uuid for one in held}] or [""]
        self.broker.undeploy(uuid)
        self.history.append(f"  taken back: {name} {uuid}")

    def check_status(self, key: Key, status: Mapping[str, Any]) -> None:
        if key.kind == names.PROVIDER:
            told = next((c for c in status["conditions"] if c["type"] == "Recorded"), None)
            if told and told["reason"] == "DeploymentRecorded":
                assert status["deployment"]["inBroker"] == [status["deployment"]["recorded"]]
        if key.kind == names.PROVIDER and self.deployment(key.name) is None:
            return
        super().check_status(key, status)

    def _lack_of(self, name: str) -> str | None:
        body = self.deployment(name)
        held = [one.version for one in self.broker.held[name]]
        status = self.provider(name).get("status") or {}
        told: Mapping[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == "Recorded"), {})
        drifts = bool(self.by_hand.get(name)) and told.get("reason") == "Drift"
        if body is None or body["spec"]["replicas"] == 0:
            taken_back = told.get("reason") == "NothingDeployed" and not held
            never_seen = told.get("reason") == "WorkloadNotFound" and (not held or bool(self.by_hand.get(name)))
            if not taken_back and not (drifts and held) and not (body is None and never_seen):
                return f"{name} runs nothing, {held} is recorded: {told}"
        else:
            runs = self.versions[name]
            recorded = told.get("reason") == "DeploymentRecorded" and held == [runs]
            if not recorded and not (drifts and held != [runs]):
                return f"{name} runs {runs}, {held} is recorded: {told}"
        return None if body is None else super()._lack_of(name)

    def matters(self, name: str) -> list[str]:
        return [*super().matters(name), *(one.version for one in self.broker.held[name])]
