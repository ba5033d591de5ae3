"""A cluster, a broker and their faults in one thread: the real engine and core, driven step by step from one seed.

Faults are named as in the literature on controllers (Sieve, Acto, Anvil): a *crash between effects* leaves an
intermediate state; watch events that come late give *stale* reads; events that are merged leave states
*unobserved*; and an effect may happen although its answer is lost. Every choice is drawn from one generator, so a
seed replays its history.
"""

import copy
import json
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, Selector
from pact_operator.core.facts import (
    Contract,
    Deployed,
    Failure,
    GateRow,
    Key,
    Matrix,
    Question,
    Result,
    Settings,
    Trouble,
    WorkloadFacts,
)
from pact_operator.core.measures import Ended
from pact_operator.core.plan_broker import GIVE_UP_SECONDS, webhook_uuid
from pact_operator.core.times import parse, rfc3339
from pact_operator.engine.gather import workload_facts
from pact_operator.engine.queue import KeyedQueue
from pact_operator.engine.reconciler import MODELS, Reconciler
from pact_operator.engine.snapshot import Body
from pact_operator.ports import BrokerFailureError, ClusterError

NS = "team"
START = 1_800_000_000.0
SETTINGS = Settings(verifier_image="verifier:1", publisher_image="publisher:1", hook_url="http://hook")
OURS = tuple(names.PLURALS)
PROVIDERS = ("users", "orders", "stock")
Ref = tuple[str, str]
"""Kind and name."""
Pair = tuple[str, str, str]
"""Consumer, content SHA, provider version."""


class Wrong(BaseException):
    """The operator did what it must never do. No `Exception`: a worker of the engine survives those, as it should."""


class Checkpoint:
    """A place where the scheduler may do something else, or let the operator die."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass
class Faults:
    """How often what goes wrong; all zero is a quiet world."""

    cluster: float = 0.0
    broker: float = 0.0
    verifier: float = 0.0
    merge: float = 0.0


class Api:
    """The API server: objects, resource versions, owner references, and a watch stream per kind."""

    def __init__(self) -> None:
        self.objects: dict[Ref, dict[str, Any]] = {}
        self.streams: dict[str, list[Ref]] = defaultdict(list)
        self.writes: Counter[str] = Counter()
        self._version = 0

    def put(self, body: Mapping[str, Any]) -> None:
        kept = copy.deepcopy(dict(body))
        self._version += 1
        kept["metadata"]["resourceVersion"] = str(self._version)
        ref = (kept["kind"], kept["metadata"]["name"])
        self.objects[ref] = kept
        self.streams[ref[0]].append(ref)

    def remove(self, ref: Ref) -> None:
        body = self.objects.pop(ref, None)
        if body is None:
            return
        self.streams[ref[0]].append(ref)
        uid = body["metadata"]["uid"]
        for other, child in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences", ())):
                self.remove(other)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for (k, _), body in sorted(self.objects.items()) if k == kind]


class Snapshot:
    """What the operator believes: as fresh as the events that were delivered."""

    def __init__(self) -> None:
        self.seen: dict[Ref, Body] = {}

    def body(self, key: Key) -> Body | None:
        return self.seen.get((key.kind, key.name))

    def bodies(self, kind: str, namespace: str) -> Iterable[Body]:
        return [body for (k, _), body in sorted(self.seen.items()) if k == kind]

    def verifications(self, namespace: str, provider: str) -> Iterable[Body]:
        return [
            b
            for b in self.bodies(names.VERIFICATION, NS)
            if b["metadata"]["labels"].get(names.LABEL_PROVIDER) == provider
        ]

    def jobs(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        return self._owned("Job", role, owner)

    def pods(self, namespace: str, role: str, owner: str) -> Iterable[Body]:
        return self._owned("Pod", role, owner)

    def workload(self, namespace: str, name: str) -> WorkloadFacts | None:
        body = self.seen.get(("Deployment", name))
        return workload_facts(body) if body else None

    def _owned(self, kind: str, role: str, owner: str) -> list[Body]:
        return [
            body
            for body in self.bodies(kind, NS)
            if body["metadata"]["labels"].get(names.LABEL_ROLE) == role
            and body["metadata"]["labels"].get(names.LABEL_OWNER) == owner
        ]


@dataclass
class Broker:
    """The Pact Broker: what is in scope, and every result that was ever published."""

    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    """Provider and consumer -> content SHA at the head of the consumer's main branch."""
    results: dict[Pair, bool] = field(default_factory=dict)
    published: Counter[Pair] = field(default_factory=Counter)
    ever: set[tuple[Pair, bool]] = field(default_factory=set)
    deployed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Provider -> versions that were recorded as deployed, besides the current one."""
    main_branches: dict[str, str] = field(default_factory=dict)
    webhooks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    environments: set[str] = field(default_factory=set)
    held: dict[str, list[Deployed]] = field(default_factory=lambda: defaultdict(list))
    """Provider -> what is recorded as deployed in the environment of the PactBroker."""
    records: int = 0
    """How many records of deployments were ever made."""
    down: bool = False

    def record(self, name: str, version: str) -> bool:
        """Records a deployment; returns whether that changed anything."""
        if [one.version for one in self.held[name]] == [version]:
            return False
        self.records += 1
        self.held[name] = [Deployed(f"d{self.records}", version)]
        return True

    def undeploy(self, uuid: str) -> None:
        """Takes a record back."""
        for name, held in self.held.items():
            self.held[name] = [one for one in held if one.uuid != uuid]

    def publish(self, pair: Pair, success: bool) -> None:
        self.results[pair] = success
        self.published[pair] += 1
        self.ever.add((pair, success))


@dataclass(frozen=True)
class SimClock:
    """The time of a history."""

    sim: "Sim"

    def now(self) -> float:
        return self.sim.now


class Observer:
    def ended(self, run: Ended) -> None: ...

    def looked(self, kind: str, outcome: str, seconds: float) -> None:
        """Nobody is curious here."""

    def decided(self, verdict: str, reason: str, *, granted: bool, shadow: bool) -> None:
        """Nor here."""


class Sim:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = START
        self.faults = Faults()
        self.api = Api()
        self.broker = Broker()
        self.history: list[str] = []
        self.excuses: Counter[Pair] = Counter()
        """How often a result may rightly be published once more."""
        self.requests: Counter[str] = Counter()
        """Times that a person asked of a provider: what is broken then, or turns out to be, may run once more."""
        self.job_creations: Counter[str] = Counter()
        self.job_losses: Counter[str] = Counter()
        self.doubtful = 0
        """Runs of which nobody knows for a while whether they were created."""
        self.truth_salt = self.rng.random()
        self.has_environment = self.rng.random() < 0.5
        self.providers = PROVIDERS[: self.rng.choice([1, 1, 2, 3])]
        self._uids = 0
        self.token = "token-1"
        self.refused: set[str] = set()
        """Runs whose Job the API server has refused at some time."""
        self.verdicts = 0
        """Runs whose verdict was written down."""
        self.left_behind = 0
        """Webhooks of PactBrokers that went while the broker was away."""
        self.broker.main_branches["orders"] = self.main_branch_of("orders")
        self._seed_objects()
        self.boot()

    # -- the world as users make it

    def _seed_objects(self) -> None:
        limit = self.rng.choice([None, None, 1, 2])
        self.broker_spec: dict[str, Any] = {
            "url": "http://broker",
            "webhook": {"enabled": self.rng.random() < 0.7},
            **({"environment": {"name": "production"}} if self.has_environment else {}),
            **({"maxConcurrentRuns": limit} if limit else {}),
        }
        self.make_broker()
        for name in self.providers:
            template = {"spec": {"containers": [{"name": "p", "image": f"{name}:{{version}}"}]}}
            self.user_put(
                {
                    "kind": names.PROVIDER,
                    "metadata": {"name": name},
                    "spec": {
                        "brokerRef": {"name": "broker"},
                        "pacticipant": name,
                        "version": {"value": f"{name}-1"},
                        "mainBranch": "main",
                        "target": {"ephemeral": {"template": template, "port": 8080}},
                        "run": {"maxConcurrent": self.rng.choice([1, 2])},
                    },
                }
            )

    def make_broker(self) -> None:
        self.user_put({"kind": names.BROKER, "metadata": {"name": "broker"}, "spec": self.broker_spec})

    def delete_broker(self) -> None:
        """A person deletes the PactBroker: it is gone at once, or once its finalizers are."""
        body = copy.deepcopy(self.api.objects[names.BROKER, "broker"])
        if body["metadata"].get("finalizers"):
            body["metadata"]["deletionTimestamp"] = rfc3339(self.now)
            self.api.put(body)
        else:
            self.api.remove((names.BROKER, "broker"))

    def user_put(self, body: dict[str, Any]) -> None:
        self._uids += 1
        meta = {"namespace": NS, "uid": f"u{self._uids}", "generation": 1, "creationTimestamp": rfc3339(self.now)}
        self.api.put({**body, "apiVersion": names.API_VERSION, "metadata": {**meta, **body["metadata"]}})

    def provider(self, name: str) -> dict[str, Any]:
        return self.api.objects[names.PROVIDER, name]

    def version(self, name: str) -> str:
        return str(self.provider(name)["spec"]["version"]["value"])

    def main_branch_of(self, name: str) -> str:
        """Somebody has set that of one provider otherwise, and it must stay so."""
        return "trunk" if name == "orders" else "main"

    def limit(self) -> int | None:
        found: Any = self.broker_spec.get("maxConcurrentRuns")
        return found if isinstance(found, int) else None

    def edit_broker(self, **change: Any) -> None:
        self.broker_spec |= change
        if (held := self.api.objects.get((names.BROKER, "broker"))) is not None:
            body = copy.deepcopy(held)
            body["spec"] = dict(self.broker_spec)
            body["metadata"]["generation"] += 1
            self.api.put(body)

    def edit_provider(self, name: str, *, version: str | None = None, request: str | None = None) -> None:
        body = copy.deepcopy(self.provider(name))
        if version:
            body["spec"]["version"]["value"] = version
            body["metadata"]["generation"] += 1
        if request:
            body["metadata"].setdefault("annotations", {})[names.ANNOTATION_REQUESTED] = request
            self.requests[name] += 1
        self.api.put(body)

    def holds(self, pair: Pair) -> bool:
        """The truth: whether this provider version keeps this contract."""
        return random.Random(f"{pair}{self.truth_salt}").random() < 0.7

    # -- the operator

    def boot(self) -> None:
        """Starts the operator: empty memory, a fresh list of everything."""
        self.snapshot = Snapshot()
        self.queue: KeyedQueue[Key] = KeyedQueue(now=lambda: self.now, jitter=self.rng.random)
        self.looks: list[tuple[Key, Coroutine[Any, Any, Any]]] = []
        self.reconciler = Reconciler(
            snapshot=self.snapshot,
            cluster=SimCluster(self),
            brokers=SimBrokers(self),
            clock=SimClock(self),
            settings=lambda: replace(SETTINGS, hook_token_digest=self.token),
            queue=self.queue,
            observer=Observer(),
        )
        self.reconciler.open()
        for stream in self.api.streams.values():
            stream.clear()
        for ref, body in self.api.objects.items():
            self.snapshot.seen[ref] = copy.deepcopy(body)
        for ref in sorted(self.api.objects):
            self._hint(ref)

    def crash(self) -> None:
        for _, look in self.looks:
            look.close()
        self.boot()

    def repeat(self) -> None:
        """An event comes once more, as after a new list: nothing has changed, and it is told all the same."""
        refs = sorted(self.snapshot.seen)
        if refs:
            self._hint(self.rng.choice(refs))

    def deliver(self, kind: str, *, merge: bool = False) -> None:
        """Delivers the oldest event of a kind; merged, all that waits at once, as after a lost watch."""
        stream = self.api.streams[kind]
        refs = [stream.pop(0)] if not merge else [*stream]
        if merge:
            stream.clear()
        for ref in dict.fromkeys(refs):
            # An event carries the state of its own moment; what matters to a level-triggered reader is that a later
            # one may be behind it. The newest state is delivered only with the last event of the object.
            if ref in stream:
                self._hint(ref)
                continue
            if (body := self.api.objects.get(ref)) is None:
                gone = self.snapshot.seen.pop(ref, None)
                self._hint(ref, gone)
            else:
                self.snapshot.seen[ref] = copy.deepcopy(body)
                self._hint(ref)

    def _hint(self, ref: Ref, gone: Body | None = None) -> None:
        kind, name = ref
        body = gone or self.snapshot.seen.get(ref)
        if body is None:
            return
        if kind in OURS:
            self.reconciler.hint_object(Key(kind, NS, name), body)
        elif kind == "Deployment":
            self.reconciler.hint_workload(NS, name)
        else:
            self.reconciler.hint_child(NS, body["metadata"]["labels"], kind)

    def take(self) -> bool:
        key = self.queue.take()
        if key is None:
            return False
        self.looks.append((key, self.reconciler.look(key)))
        return True

    def advance(self, index: int) -> None:
        key, look = self.looks[index]
        try:
            look.send(None)
        except StopIteration:
            self.looks.pop(index)
            self.queue.done(key)

    # -- the kubelet, the Job controller and the verifier

    def work_of_kubernetes(self) -> list[tuple[str, str]]:
        """What the cluster's own machinery could do next: (what, name of the Job)."""
        todo = []
        uids = {body["metadata"]["uid"] for body in self.api.objects.values()}
        for job in self.api.of("Job"):
            name = job["metadata"]["name"]
            if job["metadata"]["ownerReferences"][0]["uid"] not in uids:
                todo.append(("collect", name))
            if _condition(job, "Complete") or _condition(job, "Failed"):
                todo.append(("ttl", name))
                continue
            pod = self._newest_pod(name)
            if pod is None or pod["status"]["phase"] == "Failed":
                todo.append(("start pod", name))
            elif not _terminated(pod):
                todo.append(("end verifier", name))
            else:
                todo.append(("finish job", name))
        return todo

    def kubernetes(self, what: str, name: str) -> None:
        job = copy.deepcopy(self.api.objects["Job", name])
        pod = self._newest_pod(name)
        if what == "ttl":
            # The operator may have been away for as long as that: then it has not seen how the Job ended.
            self.lose(("Job", name))
        elif what == "collect":  # the garbage collector: its owner is gone
            self.lose(("Job", name))
        elif what == "start pod":
            retries = sum(1 for p in self.api.of("Pod") if _of(p, job))
            self._uids += 1
            labels = job["metadata"]["labels"]
            owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
            self.user_put(
                {
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-{self._uids}-{retries}",
                        "labels": labels,
                        "ownerReferences": [owner],
                    },
                    "status": {"phase": "Running", "initContainerStatuses": [], "containerStatuses": []},
                }
            )
        elif what == "end verifier" and pod is not None:
            self._run_verifier(job, copy.deepcopy(pod))
        elif what == "finish job" and pod is not None:
            code = _terminated(pod)["exitCode"]
            if code == 0:
                self._end_job(job, "Complete", "")
            elif code in (1, 2):
                self._end_job(job, "Failed", "PodFailurePolicy")
            else:
                failed = sum(1 for p in self.api.of("Pod") if _of(p, job))
                if failed > job["spec"]["backoffLimit"]:
                    self._end_job(job, "Failed", "BackoffLimitExceeded")
                else:
                    dead = copy.deepcopy(pod)
                    dead["status"]["phase"] = "Failed"
                    self.api.put(dead)

    def _end_job(self, job: dict[str, Any], kind: str, reason: str) -> None:
        job.setdefault("status", {})["conditions"] = [{"type": kind, "status": "True", "reason": reason}]
        self.api.put(job)

    def _run_verifier(self, job: dict[str, Any], pod: dict[str, Any]) -> None:
        [verifier] = job["spec"]["template"]["spec"]["containers"]
        env = {entry["name"]: entry.get("value", "") for entry in verifier["env"]}
        version, pacts = env["PV_PROVIDER_VERSION"], json.loads(env["PV_PACTS"])
        said, broken, code = [], False, 0
        for pact in pacts:
            pair = (pact["consumer"], pact["contentSha"], version)
            ok = self.holds(pair)
            if self.broker.down or self._unlucky(self.faults.verifier):
                code = names.EXIT_INFRASTRUCTURE
                break
            if self._unlucky(self.faults.verifier):
                self.history.append(f"verifier lies about {pair}")
            else:
                self.broker.publish(pair, ok)
            broken = broken or not ok
            said.append({"consumer": pair[0], "contentSha": pair[1], "outcome": "Passed" if ok else "Failed"})
        if code:
            for pact in pacts:  # the whole run is tried again, what was published goes out once more
                self.excuses[pact["consumer"], pact["contentSha"], version] += 1
            text = _message("InfrastructureError", "BrokerUnavailable", [])
        else:
            code = 1 if broken else 0
            text = _message("ContractBroken" if broken else "Passed", "ContractBroken" if broken else "Passed", said)
        if self._unlucky(self.faults.verifier):
            code, text = self.rng.choice([(code, "not JSON"), (code, '{"schema": "x"}'), (137, "")])
            self._excuse_job(job)
        state = {"terminated": {"exitCode": code, "message": text, "finishedAt": rfc3339(self.now)}}
        pod["status"]["containerStatuses"] = [{"name": names.CONTAINER_VERIFIER, "state": state}]
        self.api.put(pod)

    def lose(self, ref: Ref) -> None:
        """Somebody or something deletes a Job or a Pod."""
        body = self.api.objects[ref]
        name = body["metadata"]["name"] if ref[0] == "Job" else body["metadata"]["ownerReferences"][0]["name"]
        job = self.api.objects.get(("Job", name))
        if job is not None:
            self._excuse_job(job)
        if ref[0] == "Job":
            self.job_losses[name] += 1
        self.api.remove(ref)

    def _excuse_job(self, job: dict[str, Any]) -> None:
        [verifier] = job["spec"]["template"]["spec"]["containers"]
        env = {entry["name"]: entry.get("value", "") for entry in verifier["env"]}
        for pact in json.loads(env["PV_PACTS"]):
            self.excuses[pact["consumer"], pact["contentSha"], env["PV_PROVIDER_VERSION"]] += 1

    def _newest_pod(self, job: str) -> dict[str, Any] | None:
        body = self.api.objects["Job", job]
        pods = [pod for pod in self.api.of("Pod") if _of(pod, body)]
        return max(pods, key=lambda pod: int(pod["metadata"]["resourceVersion"]) if not _dead(pod) else 0, default=None)

    def _unlucky(self, chance: float) -> bool:
        return self.rng.random() < chance

    def records(self, name: str, version: str) -> None:
        """The operator records a deployment."""
        raise AssertionError("no version is read from a workload here")

    def takes_back(self, uuid: str) -> None:
        """The operator records an undeployment."""
        raise Wrong("no version is read from a workload here")

    # -- invariants

    def check(self) -> None:
        """What must hold at every moment, whatever has gone wrong."""
        for body in self.api.of(names.VERIFICATION):
            run = MODELS[names.VERIFICATION].parse(body)
            assert not isinstance(run, str), run
        for pair, count in self.broker.published.items():
            allowed = 1 + self.excuses[pair] + self.requests[pair[2].split("-")[0]]
            assert count <= allowed, f"{pair} was published {count} times, {allowed} would be right"
        for name, count in self.job_creations.items():
            assert count <= 1 + self.job_losses[name], f"Job {name} was created {count} times"
        active = [b for b in self.api.of(names.VERIFICATION) if not _over(b)]
        for name in self.providers:
            bound = self.provider(name)["spec"]["run"]["maxConcurrent"] * (1 + len(self.matters(name)))
            current = [b for b in active if b["spec"]["providerVersion"] == self.version(name)]
            assert len(current) <= bound, "runs pile up"
        limit = self.limit()
        if limit is not None:
            # One whose Job was refused gives its place to others, and may be let in beside them later.
            holding = [name for b in active if (name := b["metadata"]["name"]) not in self.refused]
            assert len(holding) <= limit + self.doubtful, f"{holding} run at the same time, {limit} may"

    def check_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """No verdict is ever wrong: what a status says, the broker has held."""
        if key.kind == names.PROVIDER:
            for c in status.get("contracts", ()):
                pair = (c["consumer"], c["contentSha"], c["providerVersion"])
                if c["state"] in ("Verified", "Failed"):
                    said = c["state"] == "Verified"
                    assert (pair, said) in self.broker.ever, f"{pair} is told {c['state']}, the broker never held that"
                    assert said == self.holds(pair)
            ready = next(c for c in status["conditions"] if c["type"] == "Ready")
            if ready["status"] == "True":
                assert status["contracts"], "ready with nothing verified"
                asked = {candidate["version"] for candidate in status.get("candidates", ())}
                assert all(c["state"] == "Verified" for c in status["contracts"] if c["providerVersion"] not in asked)
        if key.kind == names.VERIFICATION and status.get("completionTime"):
            succeeded = next(c for c in status["conditions"] if c["type"] == "Succeeded")
            body = self.api.objects[key.kind, key.name]
            pairs = [(p["consumer"], p["contentSha"], body["spec"]["providerVersion"]) for p in body["spec"]["pacts"]]
            if succeeded["status"] == "True":
                assert all((pair, True) in self.broker.ever for pair in pairs)
            if succeeded["reason"] == "ContractBroken":
                assert any((pair, False) in self.broker.ever for pair in pairs)

    def converged(self) -> str | None:
        """What keeps the world from being as it should, None if it is."""
        for name in self.providers:
            if lack := self._lack_of(name):
                return lack
        broker = self.api.objects.get((names.BROKER, "broker"))
        if broker is None:
            return "there is no PactBroker"
        if broker["metadata"].get("deletionTimestamp"):
            return "the PactBroker is about to leave"
        if lack := self._lack_of_setup(broker):
            return lack
        reached = broker.get("status") or {}
        if reached.get("observedGeneration") != broker["metadata"]["generation"]:
            return "the broker's new spec has not been looked at"
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in reached.get("conditions", ())):
            return "the broker is not told to be back"
        for body in [*self.api.of(names.BROKER), *self.api.of(names.PROVIDER)]:
            conditions = body["status"]["conditions"]
            if any(c["type"] == "Synced" and c["reason"] == "BrokerUnavailable" for c in conditions):
                return f"{body['metadata']['name']} does not tell yet that the broker is back"
            # Trouble that was told before it was over may be told still.
            told = [c for c in conditions if c["type"] in ("MainBranchSet", "WebhookRegistered")]
            if any(c["status"] == "Unknown" or c["reason"] == "BrokerUnavailable" for c in told):
                return f"{body['metadata']['name']} does not tell yet what the broker has"
        unfinished = [b["metadata"]["name"] for b in self.api.of(names.VERIFICATION) if not _over(b)]
        return f"unfinished: {unfinished}" if unfinished else None

    def _lack_of_setup(self, broker: Mapping[str, Any]) -> str | None:
        held = [str(webhook["description"]) for webhook in self.broker.webhooks.values()]
        wanted = [f"pact-operator {NS}/broker ({self.token})"] if self.broker_spec["webhook"]["enabled"] else []
        if held != wanted:
            return f"webhooks {held}, wanted {wanted}"
        if bool(broker["metadata"].get("finalizers")) != bool(wanted):
            return "the finalizer does not tell of the webhook"
        wanted_environments = {"production"} if self.has_environment else set()
        return None if self.broker.environments == wanted_environments else "the environment is missing"

    def matters(self, name: str) -> list[str]:
        """The versions of a provider that contracts are verified for."""
        status = self.provider(name).get("status") or {}
        candidates = [candidate["version"] for candidate in status.get("candidates", ())]
        return [self.version(name), *self.broker.deployed[name], *candidates]

    def _lack_of(self, name: str) -> str | None:
        status = self.provider(name).get("status") or {}
        wanted = {}
        for version in dict.fromkeys(self.matters(name)):
            for (provider, consumer), sha in self.broker.heads.items():
                if provider != name:
                    continue
                success = self.broker.results.get((consumer, sha, version))
                if success is None:
                    return f"{consumer} {sha} has no result for {version}"
                wanted[consumer, sha, version] = "Verified" if success else "Failed"
        shown = {
            (c["consumer"], c["contentSha"], c["providerVersion"]): c["state"] for c in status.get("contracts", ())
        }
        if shown != wanted or status.get("version") != self.version(name):
            return f"status shows {status.get('version')} {shown}, wanted {self.version(name)} {wanted}"
        if status.get("queuedSince"):
            return f"{name} still waits for a place"
        if self.broker.main_branches.get(name) != self.main_branch_of(name):
            return f"{name} has the main branch {self.broker.main_branches.get(name)}"
        said = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", ())}.get("Deployable")
        if said != self.deployable(name, wanted):
            return f"Deployable of {name} is {said}, wanted {self.deployable(name, wanted)}"
        return None

    def deployable(self, name: str, wanted: Mapping[Pair, str]) -> tuple[str, str] | None:
        """What the gate has to say of the current version once all results are there."""
        if not self.has_environment:
            return None
        own = {state for (_, _, version), state in wanted.items() if version == self.version(name)}
        if not own:
            return "Unknown", "NothingToCheck"
        return ("True", "Allowed") if own == {"Verified"} else ("False", "ContractBroken")

    def ask_gate(self, name: str, version: str) -> None:
        """Somebody asks about a version that is not rolled out yet, and wants it verified."""
        self.reconciler.gate.want(Key(names.BROKER, NS, "broker"), Question(name, version, "production"))


class SimCluster:
    """The `Cluster` port: every effect may be cut off before it, or after it."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim

    async def _before(self, what: str) -> None:
        await Checkpoint()
        self.sim.history.append(f"  operator: {what}")
        if self.sim._unlucky(self.sim.faults.cluster):
            raise self._error()

    async def _after(self) -> None:
        await Checkpoint()
        if self.sim._unlucky(self.sim.faults.cluster):
            raise ClusterError(0, "Timeout", "the answer is lost")

    def _error(self) -> ClusterError:
        status, reason = self.sim.rng.choice(
            [
                (0, "Timeout"),
                (403, "Forbidden"),  # such as a quota
                (404, "NotFound"),  # such as a namespace on its way out
                (409, "Conflict"),
                (429, "TooManyRequests"),
                (500, "InternalError"),
            ]
        )
        return ClusterError(status, reason, reason)

    async def create(self, manifest: Mapping[str, Any]) -> None:
        ref = (manifest["kind"], manifest["metadata"]["name"])
        await self._before(f"create {ref}")
        existing = self.sim.api.objects.get(ref)
        if existing is None:
            if ref[0] == "Job":
                self.sim.job_creations[ref[1]] += 1
            self.sim.api.writes["create"] += 1
            self.sim.user_put(dict(manifest))
        elif existing["metadata"]["ownerReferences"][0]["uid"] != manifest["metadata"]["ownerReferences"][0]["uid"]:
            raise ClusterError(409, "AlreadyExists", f"{ref} exists")
        try:
            await self._after()
        except ClusterError:
            self.sim.doubtful += ref[0] == names.VERIFICATION
            for pact in manifest["spec"].get("pacts", ()):  # whether it exists, nobody knows for a while
                self.sim.excuses[pact["consumer"], pact["contentSha"], manifest["spec"]["providerVersion"]] += 1
            raise

    async def delete(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        await self._before(f"delete {kind} {name}")
        if (kind, name) in self.sim.api.objects:
            self.sim.api.writes["delete"] += 1
            job = self.sim.api.objects.get(("Job", name))
            if job is not None:
                # A look at the run that is under way may still make its Job anew: the garbage collector takes it.
                self.sim._excuse_job(job)
                self.sim.job_losses[name] += 1
            self.sim.api.remove((kind, name))
        await self._after()

    async def patch_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> None:
        await self._before(f"status of {key}")
        body = self.sim.api.objects.get((key.kind, key.name))
        if body is not None:
            if body["metadata"]["resourceVersion"] != resource_version:
                raise ClusterError(409, "Conflict", "changed meanwhile")
            try:
                self.sim.check_status(key, status)
            except AssertionError as error:
                raise Wrong(f"{key}: {error}") from error
            self.sim.api.writes["status"] += 1
            if key.kind == names.VERIFICATION and _refused({"status": status}):
                self.sim.refused.add(key.name)
            self.sim.verdicts += key.kind == names.VERIFICATION and "completionTime" in status
            self.sim.api.put({**body, "status": status})
        await self._after()

    async def set_finalizers(self, key: Key, finalizers: Sequence[str], resource_version: str) -> str | None:
        await self._before(f"finalizers {list(finalizers)} of {key}")
        body = self.sim.api.objects.get((key.kind, key.name))
        if body is None:
            return None
        if body["metadata"]["resourceVersion"] != resource_version:
            raise ClusterError(409, "Conflict", "changed meanwhile")
        self.sim.api.writes["finalizers"] += 1
        if (leaves := body["metadata"].get("deletionTimestamp")) and not finalizers:
            if self.sim.broker.webhooks.pop(webhook_uuid(body["metadata"]["uid"]), None) is not None:
                # A person has to remove it now, and is told so by an Event.
                if self.sim.now - parse(leaves) <= GIVE_UP_SECONDS:
                    raise Wrong("the webhook is left behind too early")
                self.sim.left_behind += 1
            self.sim.api.remove((key.kind, key.name))
            await self._after()
            return None
        self.sim.api.put({**body, "metadata": {**body["metadata"], "finalizers": list(finalizers)}})
        version = str(self.sim.api.objects[key.kind, key.name]["metadata"]["resourceVersion"])
        await self._after()
        return version

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return None

    async def complaint(self, namespace: str, job: str) -> str:
        await self._before(f"events of {job}")
        return ""

    async def event(self, key: Key, uid: str, type_: str, reason: str, message: str) -> None:
        await Checkpoint()
        self.sim.history.append(f"  event {reason}: {message}")


class SimBrokers:
    """The `Brokers` port."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim

    async def _ask(self, what: str) -> None:
        await Checkpoint()
        if self.sim.broker.down or self.sim._unlucky(self.sim.faults.broker):
            self.sim.history.append(f"  broker does not answer: {what}")
            raise BrokerFailureError(Failure(Trouble.UNAVAILABLE, "no answer"))

    async def _lost(self) -> None:
        """The broker has done what it was asked to, and its answer may be lost."""
        await Checkpoint()
        if self.sim._unlucky(self.sim.faults.broker):
            raise BrokerFailureError(Failure(Trouble.UNAVAILABLE, "the answer is lost"))

    async def check(self, broker: PactBroker) -> None:
        await self._ask("check")

    async def fingerprint(self, broker: PactBroker) -> str | None:
        await self._ask("fingerprint")
        held = self.sim.broker
        told = (held.heads, held.published, held.deployed, {name: len(held.held[name]) for name in self.sim.providers})
        return str([sorted(one.items()) for one in told] + [held.records])

    async def contracts(
        self,
        broker: PactBroker,
        provider: str,
        selectors: Sequence[Selector],
        *,
        branch: str | None,
        enable_pending: bool,
        wip_since: str | None,
    ) -> tuple[Contract, ...]:
        await self._ask("contracts")
        heads = sorted(self.sim.broker.heads.items())
        answer = tuple(Contract(c, s, f"http://broker/{c}/{s}") for (p, c), s in heads if p == provider)
        await Checkpoint()
        return answer

    async def results(self, broker: PactBroker, provider: str, version: str) -> Mapping[tuple[str, str], Result]:
        await self._ask("results")
        found = {(c, s): Result(c, s, ok) for (c, s, v), ok in self.sim.broker.results.items() if v == version}
        await Checkpoint()
        return found

    async def in_use(self, broker: PactBroker) -> Mapping[str, tuple[str, ...]]:
        await self._ask("in use")
        found = {name: list(versions) for name, versions in self.sim.broker.deployed.items()}
        for name, held in self.sim.broker.held.items():
            found[name] = [*(one.version for one in held), *found.get(name, ())]
        return {name: tuple(versions) for name, versions in found.items()}

    async def deployed(self, broker: PactBroker, environment: str) -> Mapping[str, tuple[Deployed, ...]]:
        await self._ask("deployed")
        answer = {name: tuple(held) for name, held in self.sim.broker.held.items()}
        await Checkpoint()
        return answer

    async def has_version(self, broker: PactBroker, pacticipant: str, version: str) -> bool:
        await self._ask("version")
        return any(pair[2] == version for pair in self.sim.broker.published)

    async def record_deployment(
        self, broker: PactBroker, pacticipant: str, version: str, environment: str, instance: str | None
    ) -> None:
        await self._ask("record deployment")
        try:
            self.sim.records(pacticipant, version)
        except AssertionError as error:
            raise Wrong(str(error)) from error
        await self._lost()

    async def record_undeployment(self, broker: PactBroker, uuid: str) -> None:
        await self._ask("record undeployment")
        self.sim.takes_back(uuid)
        await self._lost()

    async def main_branch(self, broker: PactBroker, pacticipant: str) -> str | None:
        await self._ask("main branch")
        return self.sim.broker.main_branches.get(pacticipant)

    async def ensure_main_branch(self, broker: PactBroker, pacticipant: str, branch: str) -> None:
        await self._ask("ensure main branch")
        self.sim.broker.main_branches.setdefault(pacticipant, branch)
        await self._lost()

    async def can_i_deploy(
        self, broker: PactBroker, question: Question, ignore: Sequence[str], *, hasty: bool
    ) -> Matrix:
        """Every consumer's head is what is deployed of it."""
        await self._ask("can i deploy")
        held = self.sim.broker.results
        rows = tuple(
            GateRow(c, f"{c}-{sha}", p, question.version, held.get((c, sha, question.version)), sha)
            for (p, c), sha in sorted(self.sim.broker.heads.items())
            if p == question.pacticipant
        )
        outcomes = {row.success for row in rows}
        await Checkpoint()
        return Matrix(None if None in outcomes else outcomes <= {True}, "", rows)

    async def mismatch(self, broker: PactBroker, result_url: str) -> str:
        await self._ask("mismatch")
        return ""

    async def environments(self, broker: PactBroker) -> frozenset[str]:
        await self._ask("environments")
        return frozenset(self.sim.broker.environments)

    async def ensure_environment(
        self, broker: PactBroker, name: str, display_name: str | None, production: bool
    ) -> None:
        await self._ask("ensure environment")
        self.sim.broker.environments.add(name)
        await self._lost()

    async def webhook(self, broker: PactBroker, uuid: str) -> Mapping[str, Any] | None:
        await self._ask("webhook")
        return self.sim.broker.webhooks.get(uuid)

    async def put_webhook(self, broker: PactBroker, uuid: str, definition: Mapping[str, Any]) -> None:
        await self._ask("put webhook")
        held = self.sim.api.objects.get((names.BROKER, broker.metadata.name))
        hooked = held is not None and names.FINALIZER_WEBHOOK in (held["metadata"].get("finalizers") or ())
        if not hooked:
            raise Wrong("a webhook that nobody would remove")
        self.sim.broker.webhooks[uuid] = definition
        await self._lost()

    async def delete_webhook(self, broker: PactBroker, uuid: str) -> None:
        await self._ask("delete webhook")
        self.sim.broker.webhooks.pop(uuid, None)
        await self._lost()


def _message(outcome: str, reason: str, pacts: list[dict[str, Any]]) -> str:
    return json.dumps(
        {"schema": names.VERIFIER_SCHEMA, "outcome": outcome, "reason": reason, "message": "", "pacts": pacts}
    )


def _condition(job: Mapping[str, Any], kind: str) -> bool:
    return any(c["type"] == kind for c in (job.get("status") or {}).get("conditions", ()))


def _terminated(pod: Mapping[str, Any]) -> Any:
    return next((s["state"].get("terminated") for s in pod["status"]["containerStatuses"]), None)


def _dead(pod: Mapping[str, Any]) -> bool:
    return bool(pod["status"]["phase"] == "Failed")


def _of(pod: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    return any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"]["ownerReferences"])


def _refused(body: Mapping[str, Any]) -> bool:
    """Whether a run has no Job because the API server refused it: it holds no place."""
    status = body.get("status") or {}
    return not status.get("jobName") and any(c["reason"] == "JobRejected" for c in status.get("conditions", ()))


def _over(body: Mapping[str, Any]) -> bool:
    return bool((body.get("status") or {}).get("completionTime"))
