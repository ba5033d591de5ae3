"""Builders of facts, and a small world that carries plans out: what a test needs to say, and nothing else."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, PactConsumer, PactProvider, PactVerification
from pact_operator.core import actions
from pact_operator.core.facts import (
    Contract,
    Ended,
    Failure,
    JobFacts,
    PodFacts,
    ProviderFacts,
    Result,
    Settings,
    VerificationFacts,
    VersionFacts,
)
from pact_operator.core.outcome import wants_results
from pact_operator.core.plan import plan_provider, plan_verification
from pact_operator.core.times import rfc3339

T = TypeVar("T", PactProvider, PactVerification)

NOW = 1_800_000_000.0
SETTINGS = Settings(
    verifier_image="pact-operator/verifier:1",
    publisher_image="pact-operator/publisher:1",
    hook_url="http://pact-operator.pact-system.svc:8080",
    hook_token_digest="0123456789ab",
)
TEMPLATE = {"spec": {"containers": [{"name": "provider", "image": "users:{version}"}]}}


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 1, **more}


def broker(**spec: Any) -> PactBroker:
    return PactBroker.model_validate({"metadata": meta("broker"), "spec": {"url": "http://broker:9292", **spec}})


def provider(**spec: Any) -> PactProvider:
    given = {
        "brokerRef": {"name": "broker"},
        "pacticipant": "users",
        "version": {"value": "1.0.0"},
        "target": {"ephemeral": {"template": TEMPLATE, "port": 8080}},
        **spec,
    }
    return PactProvider.model_validate({"metadata": meta("users"), "spec": given})


def consumer(**spec: Any) -> PactConsumer:
    given = {
        "brokerRef": {"name": "broker"},
        "pacticipant": "web",
        "version": {"value": "2.0.0"},
        "template": {"spec": {"containers": [{"name": "tests", "image": "web-tests:{version}"}]}},
        **spec,
    }
    return PactConsumer.model_validate({"metadata": meta("web"), "spec": given})


def contract(consumer: str = "web", sha: str = "a1", *, pending: bool = False) -> Contract:
    return Contract(
        consumer, sha, f"http://broker:9292/pacts/provider/users/consumer/{consumer}/pact-version/{sha}", pending
    )


def passed(consumer: str = "web", sha: str = "a1") -> Result:
    return Result(consumer, sha, success=True, url=f"http://broker/{consumer}/{sha}/1")


def broken(consumer: str = "web", sha: str = "a1", mismatch: str = "body $.email is missing") -> Result:
    return Result(consumer, sha, success=False, url=f"http://broker/{consumer}/{sha}/1", mismatch=mismatch)


def results(*given: Result) -> dict[tuple[str, str], Result]:
    return {(result.consumer, result.content_sha): result for result in given}


def condition(status: dict[str, Any] | Any, kind: str) -> dict[str, Any]:
    [found] = [c for c in status["conditions"] if c["type"] == kind]
    return dict(found)


def message(outcome: str, reason: str, *pacts: dict[str, Any], text: str = "") -> str:
    import json

    return json.dumps(
        {"schema": names.VERIFIER_SCHEMA, "outcome": outcome, "reason": reason, "message": text, "pacts": list(pacts)}
    )


@dataclass
class World:
    """One PactProvider, its runs, their Jobs and a broker: plans are carried out as the executor would."""

    provider: PactProvider
    contracts: tuple[Contract, ...] = ()
    now: float = NOW
    broker: PactBroker = field(default_factory=broker)
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    broker_down: Failure | None = None
    runs: dict[str, PactVerification] = field(default_factory=dict)
    jobs: dict[str, JobFacts] = field(default_factory=dict)
    pods: dict[str, PodFacts] = field(default_factory=dict)
    jobs_made: list[str] = field(default_factory=list)
    status_writes: int = 0

    def look_at_provider(self) -> actions.Plan:
        version = self.provider.spec.version.value or "?"
        answer = self.broker_down or (VersionFacts(version, self.contracts, dict(self.results)),)
        facts = ProviderFacts(self.provider, self.broker, None, answer, tuple(self.runs.values()), self.now)
        plan = plan_provider(facts)
        for action in plan.actions:
            match action:
                case actions.CreateVerification(manifest):
                    name = manifest["metadata"]["name"]
                    if name not in self.runs:
                        body = {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{name}", "generation": 1}}
                        body["metadata"]["creationTimestamp"] = rfc3339(self.now)
                        self.runs[name] = PactVerification.model_validate(body)
                case actions.DeleteVerification(name):
                    self.runs.pop(name, None)
                    self.jobs.pop(name, None)
                    self.pods.pop(name, None)
        self.provider = self._with_status(self.provider, plan)
        return plan

    def look_at_run(self, name: str) -> actions.Plan:
        run = self.runs[name]
        job, pod = self.jobs.get(name), self.pods.get(name)
        asked = (self.broker_down or dict(self.results)) if wants_results(run, job, pod) else None
        plan = plan_verification(VerificationFacts(run, self.broker, job, pod, SETTINGS, self.now, asked))
        for action in plan.actions:
            assert isinstance(action, actions.CreateJob)
            made = action.manifest["metadata"]["name"]
            self.jobs_made.append(made)
            self.jobs[made] = JobFacts(made, f"uid-job-{made}", run.metadata.uid)
        self.runs[name] = self._with_status(run, plan)
        return plan

    def end_verifier(self, name: str, exit_code: int, text: str, *, publish: tuple[Result, ...] = ()) -> None:
        ended = Ended(names.CONTAINER_VERIFIER, exit_code, "", text, self.now)
        self.pods[name] = PodFacts(f"{name}-x", "Running", ended=(ended,))
        self.results.update(results(*publish))
        if exit_code not in (0, 75):
            self.jobs[name] = replace(self.jobs[name], failed=True, failed_reason="PodFailurePolicy")

    def _with_status(self, obj: T, plan: actions.Plan) -> T:
        if plan.status is None:
            return obj
        before = obj.status.model_dump(by_alias=True, exclude_none=True)
        after = type(obj).model_validate(
            {
                "metadata": obj.metadata.model_dump(by_alias=True),
                "spec": obj.spec.model_dump(by_alias=True, exclude_none=True),
                "status": plan.status,
            }
        )
        if after.status.model_dump(by_alias=True, exclude_none=True) != before:
            self.status_writes += 1
        return after
