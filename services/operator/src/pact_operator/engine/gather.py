"""From what the watches and the broker say to what a decision may know."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker, PactConsumer, PactProvider, PactVerification, VersionSource
from pact_operator.core import outcome, record, selectors, versions
from pact_operator.core.facts import (
    BrokerFacts,
    ConsumerFacts,
    DeploymentFacts,
    Ended,
    Failure,
    GateFacts,
    JobFacts,
    Key,
    PodFacts,
    ProviderFacts,
    Question,
    Settings,
    Sharer,
    VerificationFacts,
    VersionFacts,
    Waiting,
    WorkloadFacts,
)
from pact_operator.core.naming import label_value
from pact_operator.core.plan_broker import webhook_uuid
from pact_operator.core.rollout import rollout
from pact_operator.core.times import PODLESS_SECONDS, parse
from pact_operator.engine.gate import Gatekeeper
from pact_operator.engine.recent import Recent
from pact_operator.engine.snapshot import Body, Snapshot
from pact_operator.ports import BrokerFailureError, Brokers, Clock, Cluster

_JOB_DONE: Final = "Complete"
_JOB_FAILED: Final = "Failed"


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Makes facts of one object; asks the broker only where a decision can depend on the answer."""

    snapshot: Snapshot
    brokers: Brokers
    clock: Clock
    settings: Settings
    recent: Recent
    cluster: Cluster
    gate: Gatekeeper

    async def broker(self, broker: PactBroker) -> BrokerFacts:
        """Facts on a PactBroker: one request, one more for each feature that it uses."""
        spec, meta = broker.spec, broker.metadata
        check: Failure | None = None
        webhook: Mapping[str, Any] | None = None
        environments: frozenset[str] = frozenset()
        hooked = names.FINALIZER_WEBHOOK in meta.finalizers
        leaving = meta.deletion_timestamp is not None
        if hooked if leaving else not spec.suspend:
            try:
                await self.brokers.check(broker)
                if hooked or (spec.webhook.enabled and self.settings.hook_url):
                    webhook = await self.brokers.webhook(broker, webhook_uuid(meta.uid))
                if spec.environment is not None and not leaving:
                    environments = await self.brokers.environments(broker)
            except BrokerFailureError as error:
                check = error.failure
        return BrokerFacts(
            broker=broker,
            check=check,
            settings=self.settings,
            now=self.clock.now(),
            webhook=webhook,
            environments=environments,
        )

    async def consumer(self, consumer: PactConsumer) -> ConsumerFacts:
        """Facts on a PactConsumer: all from the watches, but for what main branch, record and gate want to know."""
        meta, spec = consumer.metadata, consumer.spec
        broker = self._broker(meta.namespace, spec.broker_ref.name)
        workload = self._workload(meta.namespace, spec.version)
        version = versions.resolve(spec.version, workload)
        held = spec.suspend or meta.deletion_timestamp is not None
        jobs, pods = self._jobs_and_pods(meta.namespace, names.ROLE_CONSUMER, meta.name, meta.uid)
        jobs = {name: await self._with_complaint(meta.namespace, job, pods.get(name)) for name, job in jobs.items()}
        return ConsumerFacts(
            consumer=consumer,
            main_branch=None if spec.suspend else await self._main_branch(broker, spec.pacticipant, spec.main_branch),
            providers=self._pacticipants(names.PROVIDER, meta.namespace, spec.broker_ref.name),
            broker=broker,
            workload=workload,
            jobs=jobs,
            pods=pods,
            settings=self.settings,
            deployment=await self._deployment(consumer, broker, workload),
            gate=None if held else await self._deployable(broker, spec.pacticipant, version),
            now=self.clock.now(),
        )

    async def _deployable(
        self,
        broker: PactBroker | None,
        pacticipant: str,
        version: str | versions.Unresolved,
        failed: Failure | None = None,
    ) -> GateFacts | None:
        """What the condition `Deployable` of an object rests on; one question, if nothing else failed before it."""
        environment = broker.spec.environment if broker is not None else None
        if broker is None or environment is None or broker.spec.suspend or not isinstance(version, str):
            return None
        question = Question(pacticipant, version, environment.name)
        if failed is not None:
            return self.gate.unanswered(broker, question, failed)
        return await self.gate.facts(broker, question)

    async def provider(self, provider: PactProvider) -> ProviderFacts:
        """Facts on a PactProvider: two requests to the broker if its version is known, one more per feature."""
        meta, spec = provider.metadata, provider.spec
        broker = self._broker(meta.namespace, spec.broker_ref.name)
        workload = self._workload(meta.namespace, spec.version)
        # Taken before the broker is asked: a run that is confirmed by now has its results in the broker's answer.
        seen = self.snapshot.verifications(meta.namespace, label_value(meta.name))
        verifications = [
            parsed
            for body in self.recent.merged(names.VERIFICATION, meta.namespace, seen)
            if isinstance(parsed := PactVerification.parse(body), PactVerification) and _controlled_by(body, meta.uid)
        ]
        version = versions.resolve(spec.version, workload)
        found: tuple[VersionFacts, ...] | Failure | None = None
        main_branch: str | Failure | None = None
        gate: GateFacts | None = None
        if isinstance(version, str) and broker is not None and not broker.spec.suspend and not spec.suspend:
            main_branch = await self._main_branch(broker, spec.pacticipant, spec.main_branch)
            try:
                found = await self._versions(broker, provider, version)
            except BrokerFailureError as error:
                found = error.failure
            failed = found if isinstance(found, Failure) else None
            gate = await self._deployable(broker, spec.pacticipant, version, failed)
        return ProviderFacts(
            provider=provider,
            broker=broker,
            workload=workload,
            versions=found,
            verifications=tuple(verifications),
            deployment=await self._deployment(provider, broker, workload),
            consumers=self._pacticipants(names.CONSUMER, meta.namespace, spec.broker_ref.name) if gate else (),
            gate=gate,
            now=self.clock.now(),
            main_branch=main_branch,
        )

    async def _main_branch(
        self, broker: PactBroker | None, pacticipant: str, wanted: str | None
    ) -> str | Failure | None:
        if wanted is None or broker is None or broker.spec.suspend:
            return None
        try:
            return await self.brokers.main_branch(broker, pacticipant)
        except BrokerFailureError as error:
            return error.failure

    async def _versions(self, broker: PactBroker, provider: PactProvider, current: str) -> tuple[VersionFacts, ...]:
        spec = provider.spec
        contracts = await self.brokers.contracts(
            broker,
            spec.pacticipant,
            selectors.effective(spec.selectors),
            branch=spec.branch,
            enable_pending=spec.enable_pending,
            wip_since=spec.include_wip_pacts_since,
        )
        in_use: Sequence[str] = ()
        if contracts and versions.runs_any_version(spec.target):
            in_use = (await self.brokers.in_use(broker)).get(spec.pacticipant, ())
        matter = versions.that_matter(current, in_use, spec.target)
        candidates = {
            version: until
            for version, until in self.gate.candidates(provider).items()
            if version not in matter and versions.can_be_started(version, spec.target)
        }
        found = []
        for version in (*matter, *candidates):
            # Asked after the contracts: a result that arrives in between is seen, none is missed.
            results = await self.brokers.results(broker, spec.pacticipant, version) if contracts else {}
            found.append(
                VersionFacts(version, contracts, results, version == current, candidate_until=candidates.get(version))
            )
        return tuple(found)

    async def _deployment(
        self, obj: PactConsumer | PactProvider, broker: PactBroker | None, workload: WorkloadFacts | None
    ) -> DeploymentFacts | None:
        """What is to be compared with what runs: one answer of the broker for all of its objects.

        Where it does not hold what runs, there is one question more: whether it knows that version.
        """
        spec = obj.spec
        if broker is None or record.on_hold(spec, broker) or not record.wanted(spec, broker):
            return None
        environment = broker.spec.environment
        assert environment is not None, "wanted only with an environment"  # noqa: S101
        others = self._sharers(obj)
        alike = tuple(other for instance, other in others if instance == spec.application_instance)
        claimed = frozenset(instance for instance, _ in others)
        version = versions.resolve(spec.version, workload)
        known: bool | Failure | None = None
        try:
            held = (await self.brokers.deployed(broker, environment.name)).get(spec.pacticipant, ())
        except BrokerFailureError as error:
            return DeploymentFacts(error.failure, None, alike, claimed)
        if isinstance(version, str) and record.asks_for_version(version, workload, held, spec.application_instance):
            try:
                known = await self.brokers.has_version(broker, spec.pacticipant, version)
            except BrokerFailureError as error:
                known = error.failure
        return DeploymentFacts(held, known, alike, claimed)

    def _sharers(self, obj: PactConsumer | PactProvider) -> list[tuple[str | None, Sharer]]:
        """The other objects of the same pacticipant and broker that could record: (application instance, object)."""
        found = []
        spec, namespace = obj.spec, obj.metadata.namespace
        for kind, model in ((names.PROVIDER, PactProvider), (names.CONSUMER, PactConsumer)):
            for body in self.snapshot.bodies(kind, namespace):
                if (body.get("spec") or {}).get("pacticipant") != spec.pacticipant:
                    continue
                other = model.parse(body)
                if isinstance(other, str) or not isinstance(other, (PactProvider, PactConsumer)):
                    continue
                ref = other.spec.version.from_workload
                if ref is None or other.spec.suspend or other.metadata.deletion_timestamp:
                    continue
                if other.metadata.uid == obj.metadata.uid or other.spec.broker_ref != spec.broker_ref:
                    continue
                version = versions.resolve(other.spec.version, self._workload(namespace, other.spec.version))
                sharer = Sharer(
                    key=Key(kind, namespace, other.metadata.name),
                    workload=ref.name,
                    version=version if isinstance(version, str) else None,
                    last=other.status.deployment,
                )
                found.append((other.spec.application_instance, sharer))
        return found

    async def verification(self, verification: PactVerification) -> VerificationFacts:
        """Facts on a PactVerification: the broker is asked only once the verifier has ended."""
        meta, spec = verification.metadata, verification.spec
        broker = self._broker(meta.namespace, spec.broker_ref.name)
        jobs, pods = self._jobs_and_pods(meta.namespace, names.ROLE_VERIFIER, meta.name, meta.uid)
        job = next(iter(jobs.values()), None)
        pod = pods.get(job.name) if job else None
        job = await self._with_complaint(meta.namespace, job, pod) if job else None
        results: Mapping[tuple[str, str], Any] | Failure | None = None
        if broker is not None and outcome.wants_results(verification, job, pod):
            try:
                results = await self.brokers.results(broker, spec.pacticipant, spec.provider_version)
            except BrokerFailureError as error:
                results = error.failure
        return VerificationFacts(
            verification=verification,
            broker=broker,
            job=job,
            pod=pod,
            settings=self.settings,
            now=self.clock.now(),
            results=results,
        )

    async def _with_complaint(self, namespace: str, job: JobFacts, pod: PodFacts | None) -> JobFacts:
        """A Job that has no Pod, though it should: Kubernetes says why only in an Event on the Job."""
        if (
            pod is not None
            or job.complete
            or job.failed
            or job.suspended
            or self.clock.now() - job.created_at < PODLESS_SECONDS
        ):
            return job
        return replace(job, complaint=await self.cluster.complaint(namespace, job.name))

    def _pacticipants(self, kind: str, namespace: str, broker: str) -> tuple[tuple[str, Key], ...]:
        """(pacticipant, key) of the objects of a kind that use a broker."""
        found = []
        for body in self.snapshot.bodies(kind, namespace):
            spec = body.get("spec") or {}
            if (spec.get("brokerRef") or {}).get("name") == broker:
                found.append((str(spec.get("pacticipant")), Key(kind, namespace, body["metadata"]["name"])))
        return tuple(sorted(found))

    def _broker(self, namespace: str, name: str) -> PactBroker | None:
        body = self.snapshot.body(Key(names.BROKER, namespace, name))
        if body is None:
            return None
        # One whose spec does not parse says so itself; to all others it is not there.
        parsed = PactBroker.parse(body)
        return parsed if isinstance(parsed, PactBroker) else None

    def _workload(self, namespace: str, source: VersionSource) -> WorkloadFacts | None:
        ref = source.from_workload
        return self.snapshot.workload(namespace, ref.name) if ref is not None else None

    def _jobs_and_pods(
        self, namespace: str, role: str, name: str, uid: str
    ) -> tuple[dict[str, JobFacts], dict[str, PodFacts]]:
        """Jobs that the object controls, newest first, and the newest Pod of each."""
        owner = label_value(name)
        bodies = [body for body in self.snapshot.jobs(namespace, role, owner) if _controlled_by(body, uid)]
        bodies.sort(key=_age, reverse=True)
        pods: dict[str, PodFacts] = {}
        for body in sorted(self.snapshot.pods(namespace, role, owner), key=_age):
            for job in bodies:
                if _controlled_by(body, job["metadata"]["uid"]):
                    pods[job["metadata"]["name"]] = pod_facts(body)
        return {body["metadata"]["name"]: job_facts(body) for body in bodies}, pods


def job_facts(body: Body) -> JobFacts:
    """Reads a Job.

    Only the conditions `Complete` and `Failed` are an end. `SuccessCriteriaMet` and `FailureTarget` come before them,
    while Pods still run and may yet say how it went; counters of Pods are no verdict at all.

    Args:
        body: a `batch/v1` Job.
    """
    meta = body["metadata"]
    status = body.get("status") or {}
    conditions = {
        condition["type"]: condition
        for condition in status.get("conditions") or []
        if condition.get("status") == "True"
    }
    failed = conditions.get(_JOB_FAILED)
    return JobFacts(
        name=meta["name"],
        uid=meta.get("uid", ""),
        owner_uid=_controller_uid(body) or "",
        created_at=parse(meta.get("creationTimestamp")),
        complete=_JOB_DONE in conditions,
        failed=failed is not None,
        failed_reason=(failed or {}).get("reason", ""),
        failed_message=(failed or {}).get("message", ""),
        suspended="Suspended" in conditions,
    )


def pod_facts(body: Body) -> PodFacts:
    """Reads a Pod: the states of its init containers (native sidecars are such) and of its main containers.

    Args:
        body: a `v1` Pod.
    """
    status = body.get("status") or {}
    waiting: list[Waiting] = []
    running: list[str] = []
    ended: list[Ended] = []
    for container in _containers(status):
        name = container.get("name", "")
        state = container.get("state") or {}
        if (done := state.get("terminated")) is not None:
            ended.append(
                Ended(
                    container=name,
                    exit_code=int(done.get("exitCode", 0)),
                    reason=done.get("reason") or "",
                    message=done.get("message") or "",
                    finished_at=parse(done.get("finishedAt")),
                )
            )
        elif "running" in state:
            running.append(name)
        elif (wait := state.get("waiting")) is not None:
            waiting.append(Waiting(name, wait.get("reason") or "", wait.get("message") or ""))
    return PodFacts(
        name=body["metadata"]["name"],
        phase=status.get("phase") or "Pending",
        created_at=parse(body["metadata"].get("creationTimestamp")),
        unschedulable=_unschedulable(status),
        waiting=tuple(waiting),
        running=tuple(running),
        ended=tuple(ended),
    )


def workload_facts(body: Body) -> WorkloadFacts:
    """Reads a Deployment.

    Args:
        body: an `apps/v1` Deployment.
    """
    template = (body.get("spec") or {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or []
    return WorkloadFacts(
        name=body["metadata"]["name"],
        containers={container["name"]: container.get("image") or "" for container in containers},
        labels=dict((template.get("metadata") or {}).get("labels") or {}),
        rollout=rollout(body),
    )


def _containers(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _unschedulable(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("message") or condition.get("reason") or "Unschedulable"
    return ""


def _controller_uid(body: Body) -> str | None:
    references = body["metadata"].get("ownerReferences") or []
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


def _controlled_by(body: Body, uid: str) -> bool:
    return _controller_uid(body) == uid


def _age(body: Body) -> tuple[str, str, str]:
    meta = body["metadata"]
    ended = (body.get("status") or {}).get("phase") == "Failed"  # of two of the same second, the failed one was first
    return (meta.get("creationTimestamp") or "", "" if ended else "~", meta["name"])
