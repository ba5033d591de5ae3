"""From a plan to the outside, in the one order that is safe to cut anywhere: actions, the status once, then Events.

Every action is harmless when repeated, so a crash between any two steps only means that the next look does the rest.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pact_operator.api import names
from pact_operator.api.v1alpha1 import PactBroker
from pact_operator.core.actions import (
    Action,
    CreateJob,
    CreateVerification,
    DeleteVerification,
    DeleteWebhook,
    EnsureEnvironment,
    EnsureMainBranch,
    Look,
    Plan,
    PutWebhook,
    RecordDeployment,
    RecordUndeployment,
    SetFinalizers,
)
from pact_operator.core.facts import Failure, Key, Trouble
from pact_operator.engine.recent import Recent
from pact_operator.engine.snapshot import Body
from pact_operator.ports import BrokerFailureError, Brokers, Cluster, ClusterError

logger = logging.getLogger(__name__)

Decide = Callable[[Mapping[str, Failure]], Plan]
"""Plans, knowing which actions of the same look have failed: class name of the action -> why."""

_CHANGES_BROKER: Final[Mapping[type[Action], tuple[str, ...]]] = {
    EnsureEnvironment: (names.BROKER,),
    PutWebhook: (names.BROKER,),
    DeleteWebhook: (names.BROKER,),
    EnsureMainBranch: (names.CONSUMER, names.PROVIDER),
    RecordDeployment: (names.CONSUMER, names.PROVIDER),
    RecordUndeployment: (names.CONSUMER, names.PROVIDER),
}
"""What changes a broker, and the kinds whose plans may ask for it."""


class Outcome(StrEnum):
    """How a look ended."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    GONE = "gone"
    CONFLICT = "conflict"
    """The object changed meanwhile: what was planned is outdated."""
    FAILED = "failed"
    """An action failed as it may; the status says so."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a plan."""

    outcome: Outcome
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class Executor:
    """Carries plans out.

    Args:
        cluster: the API server.
        brokers: the Pact Brokers.
        look: has another object looked at now.
        recent: remembers the runs that are created.
        wrote: told of every status that was written, with the object as it was before.
    """

    cluster: Cluster
    brokers: Brokers
    look: Callable[[Key], None]
    recent: Recent
    wrote: Callable[[Key, Body, Mapping[str, Any]], None] = lambda _key, _body, _status: None

    async def execute(self, key: Key, body: Body, decide: Decide, broker: PactBroker | None = None) -> Done:
        """Plans, acts, and writes what came of it.

        An action that fails in a way that a user can understand is told to the plan, which is then made once more for
        its status and Events alone.

        Args:
            key: the object.
            body: the object as it was observed; its resource version guards the writes.
            decide: the decision.
            broker: the broker that the plan may change. Environment and webhook are for a PactBroker's own plan,
                main branches and records of deployments for those of PactConsumers and PactProviders.

        Raises:
            ClusterError: the API server did not answer, or not as it should.
        """
        planned = decide({})
        # Before anything else happens: whoever decides meanwhile must know of the runs that this plan starts.
        reserved = self._reserve(key, planned)
        version: str | None = body["metadata"]["resourceVersion"]
        failed: dict[str, Failure] = {}
        try:
            for action in planned.actions:
                if isinstance(action, CreateVerification) and DeleteVerification.__name__ in failed:
                    # It was to take the place of one that is still there: the next look sees to it.
                    continue
                try:
                    if isinstance(action, SetFinalizers):
                        version = await self.cluster.set_finalizers(key, action.finalizers, version or "")
                        if version is None:
                            # Gone: there is nothing to write to any more.
                            return Done(Outcome.GONE)
                    else:
                        await self._act(key, broker, action, reserved)
                except (ClusterError, BrokerFailureError) as error:
                    name = type(action).__name__
                    failed[name] = _failure(action, error)
                    logger.warning("%s: %s failed: %s", key, name, error)
        finally:
            for run in reserved:
                self.recent.drop(run)
        if failed:
            planned = decide(failed)
        changed = await self._write(key, body, planned, version or "")
        if failed:
            return Done(Outcome.FAILED)
        return Done(Outcome.CHANGED if changed or planned.actions else Outcome.UNCHANGED, planned.requeue_after)

    def _reserve(self, key: Key, planned: Plan) -> set[Key]:
        runs = {_run_key(key, action): action for action in planned.actions if isinstance(action, CreateVerification)}
        for run, action in runs.items():
            self.recent.add(run, action.manifest)
        return set(runs)

    async def _write(self, key: Key, body: Body, planned: Plan, version: str) -> bool:
        changed = planned.status is not None and planned.status != (body.get("status") or {})
        if changed and planned.status is not None:
            await self.cluster.patch_status(key, planned.status, version)
            self.wrote(key, body, planned.status)
        uid = body["metadata"].get("uid", "")
        for event in planned.events:
            logger.info("%s: %s: %s", key, event.reason, event.message)
            await self.cluster.event(key, uid, event.type, event.reason, event.message)
        return changed

    async def _act(self, key: Key, broker: PactBroker | None, action: Action, reserved: set[Key]) -> None:
        match action:
            case CreateVerification(manifest):
                run = _run_key(key, action)
                try:
                    await self.cluster.create(_in_namespace(manifest, key.namespace))
                except ClusterError as error:
                    if error.ambiguous:
                        reserved.discard(run)
                        self.recent.add(run, manifest, doubtful=True)
                    raise
                reserved.discard(run)
                self.recent.add(run, manifest)
            case CreateJob(manifest):
                await self.cluster.create(_in_namespace(manifest, key.namespace))
            case DeleteVerification(name):
                self.recent.drop(Key(names.VERIFICATION, key.namespace, name))
                await self.cluster.delete(names.API_VERSION, names.VERIFICATION, key.namespace, name)
            case Look(other):
                self.look(other)
            case _ if broker is not None and key.kind in _CHANGES_BROKER.get(type(action), ()):
                await self._change(broker, action)
            case _:
                raise TypeError(f"the plan of {key} may not ask for {action}")

    async def _change(self, broker: PactBroker, action: Action) -> None:
        match action:
            case EnsureMainBranch(pacticipant, branch):
                await self.brokers.ensure_main_branch(broker, pacticipant, branch)
            case EnsureEnvironment(name, display_name, production):
                await self.brokers.ensure_environment(broker, name, display_name, production)
            case PutWebhook(uuid, definition):
                await self.brokers.put_webhook(broker, uuid, definition)
            case DeleteWebhook(uuid):
                await self.brokers.delete_webhook(broker, uuid)
            case RecordDeployment(pacticipant, number, environment, instance):
                await self.brokers.record_deployment(broker, pacticipant, number, environment, instance)
            case RecordUndeployment(uuid):
                await self.brokers.record_undeployment(broker, uuid)


def _run_key(key: Key, action: CreateVerification) -> Key:
    return Key(names.VERIFICATION, key.namespace, action.manifest["metadata"]["name"])


def _in_namespace(manifest: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    # A plan acts in the namespace of its object and nowhere else.
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


def _failure(action: Action, error: ClusterError | BrokerFailureError) -> Failure:
    """Words for a failed action; an error that says nothing about the action itself is raised again."""
    if isinstance(error, BrokerFailureError):
        return error.failure
    if isinstance(action, SetFinalizers) or (error.retryable and error.reason != "AlreadyExists"):
        raise error
    return Failure(Trouble.REFUSED, str(error))
