"""What a PactConsumer needs: one Job per new version - its tests, then the publisher - and a verdict on it."""

from dataclasses import dataclass, replace
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.reasons import ADVICE, Reason
from pact_operator.api.v1alpha1 import PactBroker, PublishedPact
from pact_operator.core.actions import Action, CreateJob, EnsureMainBranch, Look, Plan
from pact_operator.core.conditions import Cond, clean, events, status_of, tidy, with_condition, within
from pact_operator.core.facts import ConsumerFacts, Failure, JobFacts, PodFacts
from pact_operator.core.gate import KIND as DEPLOYABLE
from pact_operator.core.gate import decide, ignoring_ends_in
from pact_operator.core.jobspec import consumer_job
from pact_operator.core.main_branch import AGAIN_SECONDS, plan_main_branch
from pact_operator.core.main_branch import KIND as MAIN_BRANCH
from pact_operator.core.naming import child_name, digest
from pact_operator.core.outcome import known, last_word, publisher_message, stuck, tail
from pact_operator.core.record import with_record
from pact_operator.core.times import PODLESS_SECONDS, UNFINISHED_SECONDS, backoff, parse, rfc3339
from pact_operator.core.versions import Unresolved, resolve

MAX_ATTEMPTS: Final = 999_999
"""Keeps the attempt's suffix within the Job's name."""
MAX_URL: Final = 2048


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the run of the tests stands."""

    ready: Cond
    pacts: tuple[PublishedPact, ...] = ()
    over: bool = False
    again_in: float | None = None


def plan_consumer(facts: ConsumerFacts) -> Plan:
    """Decides what one PactConsumer needs, and what to record as deployed.

    Args:
        facts: see `ConsumerFacts`.

    Returns:
        The Job to create, if any, what to record, and the status.
    """
    if facts.consumer.metadata.deletion_timestamp:
        return Plan()
    return with_record(_with_deployable(facts, _plan_run(facts)), facts)


def _with_deployable(facts: ConsumerFacts, planned: Plan) -> Plan:
    """Adds the gate's decision on the object's own version, whatever became of its tests.

    A pipeline may have published the same version. No Event tells of it: it changes with what others do.
    """
    meta, observed = facts.consumer.metadata, facts.consumer.status
    status = planned.status or tidy(observed.model_dump(by_alias=True, exclude_none=True))
    told = decide(facts.gate).condition() if facts.gate else None
    if told is None and all(condition["type"] != DEPLOYABLE for condition in status["conditions"]):
        return planned
    ends = ignoring_ends_in(facts.gate.policy, facts.now) if facts.gate else None
    return replace(
        planned,
        status=with_condition(status, DEPLOYABLE, told, observed.conditions, facts.now, meta.generation),
        requeue_after=min((end for end in (planned.requeue_after, ends) if end is not None), default=None),
    )


def _plan_run(facts: ConsumerFacts) -> Plan:
    consumer, status = facts.consumer, facts.consumer.status
    version = resolve(consumer.spec.version, facts.workload)
    broker = facts.broker
    if consumer.spec.suspend:
        return _held(facts, "Unknown", Reason.SUSPENDED, "Suspended: set spec.suspend to false to go on.")
    if broker is None:
        name = consumer.spec.broker_ref.name
        return _held(
            facts, "False", Reason.BROKER_NOT_FOUND, f"There is no PactBroker {name!r} in this namespace; create it."
        )
    if broker.spec.suspend:
        return _held(facts, "Unknown", Reason.SUSPENDED, f"PactBroker {broker.metadata.name!r} is suspended.")
    if isinstance(version, Unresolved):
        return _held(facts, "False", version.reason, version.message)

    base = _work(facts, version, broker)
    last = status.run if status.run and status.run.job_name.startswith(base) else None
    attempt = max(0, min(last.attempt, MAX_ATTEMPTS)) if last else 0
    if last and last.finished_at:
        if not _worth_another(facts):
            return _settled(facts)
        due = parse(last.finished_at) + backoff(last.attempt)
        if facts.now < due:
            return Plan(requeue_after=due - facts.now)
        attempt, last = last.attempt + 1, None
    job_name = f"{base}-{attempt}" if attempt else base
    job = facts.jobs.get(job_name)
    if job is None:
        manifest = consumer_job(consumer, version, broker, facts.settings, job_name)
        asked = Cond("Ready", "Unknown", Reason.TESTS_RUNNING, f"The pact tests of {version} have been asked for.")
        if failure := facts.failed.get("CreateJob"):
            asked = Cond("Ready", "False", Reason.JOB_REJECTED, f"The Job cannot be created: {failure.message}")
        return _stated(facts, version, job_name, attempt, Verdict(asked), (CreateJob(manifest),))
    return _stated(facts, version, job_name, attempt, _verdict(facts, version, job, facts.pods.get(job_name)))


def _work(facts: ConsumerFacts, version: str, broker: PactBroker) -> str:
    """The name of the work: what decides whether a run says something new."""
    meta, spec = facts.consumer.metadata, facts.consumer.spec
    unique = digest(meta.uid, spec.pacticipant, version, spec.branch, spec.template, broker.spec.url)
    # Room for the attempt's suffix.
    return child_name(meta.name[:36], unique)


def _worth_another(facts: ConsumerFacts) -> bool:
    ready = next((c for c in facts.consumer.status.conditions if c.type == "Ready"), None)
    if ready is None or ready.status == "True":
        return False
    return ADVICE[known(ready.reason, Reason.JOB_FAILED)].retried


def _verdict(facts: ConsumerFacts, version: str, job: JobFacts, pod: PodFacts | None) -> Verdict:
    end = last_word(job, pod, names.CONTAINER_PUBLISHER)
    if end is None or pod is None:
        return _unpublished(facts, version, job, pod)
    message = publisher_message(end)
    pacts = tuple(message.pacts) if message else ()
    text = message.message if message else tail(end.message)
    if end.exit_code == names.EXIT_PASSED:
        providers = ", ".join(sorted({pact.provider for pact in pacts}))
        said = f"{version} is published" + (f" with pacts for {providers}." if providers else ".")
        return Verdict(Cond("Ready", "True", Reason.PUBLISHED, said), pacts, over=True)
    if end.exit_code == names.EXIT_NOTHING:
        text = text or "The tests passed, but wrote no pact file into /pacts."
        return Verdict(Cond("Ready", "False", Reason.NOTHING_WRITTEN, text), over=True)
    if end.exit_code == names.EXIT_BROKEN:
        reason = known(message.reason, Reason.PUBLISH_REJECTED) if message else Reason.PUBLISH_REJECTED
        return Verdict(Cond("Ready", "False", reason, text or "The broker refuses the pacts."), over=True)
    reason = known(message.reason, Reason.JOB_FAILED) if message else Reason.JOB_FAILED
    text = text or f"The publisher ended with exit code {end.exit_code}; see its log."
    if job.failed:
        return Verdict(Cond("Ready", "False", reason, text), over=True)
    return Verdict(Cond("Ready", "Unknown", Reason.RETRYING, f"{reason}: {text} The Job tries again."))


def _unpublished(facts: ConsumerFacts, version: str, job: JobFacts, pod: PodFacts | None) -> Verdict:
    """The publisher has not ended: the tests run, have failed, or the Pod does not get on."""
    failed_tests = next((end for end in (pod.ended if pod else ()) if end.exit_code != 0), None)
    if failed_tests and pod and pod.phase == "Failed":
        said = (
            f"The tests of {version} failed in container {failed_tests.container!r} "
            f"with exit code {failed_tests.exit_code}"
        )
        words = tail(failed_tests.message)
        return Verdict(
            Cond("Ready", "False", Reason.TESTS_FAILED, f"{said}: {words}" if words else f"{said}."), over=True
        )
    trouble = stuck(pod)
    if job.failed:
        if trouble:
            return Verdict(Cond("Ready", "False", trouble.reason, trouble.message), over=True)
        if job.failed_reason == "DeadlineExceeded":
            seconds = facts.consumer.spec.run.active_deadline_seconds
            said = f"The tests of {version} did not end within {seconds} seconds."
            return Verdict(Cond("Ready", "False", Reason.DEADLINE_EXCEEDED, said), over=True)
        said = job.failed_message or "The Job failed; see its events."
        return Verdict(Cond("Ready", "False", Reason.JOB_FAILED, said), over=True)
    if job.complete:
        return Verdict(Cond("Ready", "True", Reason.PUBLISHED, f"{version} is published."), over=True)
    if trouble:
        return Verdict(Cond("Ready", "False", trouble.reason, trouble.message))
    if pod is None and job.complaint:
        why = f"Kubernetes refuses the Job's Pod: {job.complaint}"
        return Verdict(Cond("Ready", "False", Reason.JOB_REJECTED, why), again_in=PODLESS_SECONDS)
    running = Cond("Ready", "Unknown", Reason.TESTS_RUNNING, f"The pact tests of {version} are running.")
    return Verdict(running, again_in=PODLESS_SECONDS if pod is None else None)


def _stated(
    facts: ConsumerFacts, version: str, job_name: str, attempt: int, verdict: Verdict, actions: tuple[Action, ...] = ()
) -> Plan:
    meta, observed = facts.consumer.metadata, facts.consumer.status
    told, ensure = _main_branch(facts)
    stated = (verdict.ready, *told)
    actions = (*ensure, *actions)
    run: dict[str, Any] = {"jobName": job_name, "attempt": attempt}
    if verdict.over:
        run["finishedAt"] = rfc3339(facts.now)
        if verdict.ready.status == "True":
            # The broker's own webhook comes five seconds later at the earliest.
            providers = {pact.provider for pact in verdict.pacts}
            looks = [Look(key) for name, key in facts.providers if name in providers or not providers]
            actions = (*actions, *looks)
    return Plan(
        actions=actions,
        status={
            **status_of(observed.conditions, stated, facts.now, meta.generation),
            "version": tidy(version),
            "run": run,
            "pacts": within(_pact(pact) for pact in verdict.pacts),
        },
        events=events(observed.conditions, stated),
        requeue_after=_again(facts, ensure, None if verdict.over else verdict.again_in or UNFINISHED_SECONDS),
    )


def _pact(pact: PublishedPact) -> dict[str, Any]:
    url = pact.url if pact.url and len(pact.url) <= MAX_URL else None
    shown = PublishedPact(provider=clean(pact.provider), interactions=pact.interactions, url=url)
    return dict(tidy(shown.model_dump(by_alias=True, exclude_none=True)))


def _settled(facts: ConsumerFacts) -> Plan:
    """The verdict was taken; a spec that changed without changing the work is only noted as seen."""
    meta, status = facts.consumer.metadata, facts.consumer.status
    told, ensure = _main_branch(facts)
    kept = [condition for condition in status.conditions if condition.type not in (MAIN_BRANCH, DEPLOYABLE)]
    stated = (*(Cond(c.type, c.status, known(c.reason, Reason.JOB_FAILED), c.message) for c in kept), *told)
    seen = tidy(status.model_dump(by_alias=True, exclude_none=True))
    return Plan(
        actions=ensure,
        status=status_of(status.conditions, stated, facts.now, meta.generation, seen),
        events=events(status.conditions, told),
        requeue_after=_again(facts, ensure, None),
    )


def _main_branch(facts: ConsumerFacts) -> tuple[tuple[Cond, ...], tuple[EnsureMainBranch, ...]]:
    spec = facts.consumer.spec
    return plan_main_branch(spec.main_branch, spec.pacticipant, facts.main_branch, facts.failed)


def _again(facts: ConsumerFacts, ensure: tuple[EnsureMainBranch, ...], otherwise: float | None) -> float | None:
    """When to look again: nothing but time tells of what the broker holds."""
    if ensure:
        return AGAIN_SECONDS
    if isinstance(facts.main_branch, Failure):
        return min(otherwise or UNFINISHED_SECONDS, UNFINISHED_SECONDS)
    return otherwise


def _held(facts: ConsumerFacts, status: Any, reason: Reason, message: str) -> Plan:
    meta, observed = facts.consumer.metadata, facts.consumer.status
    stated = (Cond("Ready", status, reason, message),)
    return Plan(
        status=status_of(
            observed.conditions,
            stated,
            facts.now,
            meta.generation,
            tidy(observed.model_dump(by_alias=True, exclude_none=True)),
        ),
        events=events(observed.conditions, stated),
    )
