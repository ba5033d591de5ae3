"""Every reason that a condition of ours can have: who must act, and whether waiting helps.

Reasons are CamelCase as in Kubernetes' API conventions; this enum is the only place that makes them,
and the reference page of the documentation is rendered from it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Actor(StrEnum):
    """Who must act before the condition can change."""

    NOBODY = "nobody: wait"
    CONSUMER = "the consumer's team"
    PROVIDER = "the provider's team"
    PLATFORM = "the platform team"
    NONE = "nobody: all is well"


class Reason(StrEnum):
    """The reason of a condition."""

    # all is well
    ALL_VERIFIED = "AllVerified"
    PASSED = "Passed"
    PUBLISHED = "Published"
    REACHABLE = "Reachable"
    REGISTERED = "Registered"
    RESULTS_READ_BACK = "ResultsReadBack"
    IN_SYNC = "InSync"
    ALLOWED = "Allowed"
    DEPLOYMENT_RECORDED = "DeploymentRecorded"
    NOTHING_DEPLOYED = "NothingDeployed"
    MAIN_BRANCH_SET = "MainBranchSet"
    # wait
    VERIFICATION_PENDING = "VerificationPending"
    PENDING = "Pending"
    RUNNING = "Running"
    RETRYING = "Retrying"
    TESTS_RUNNING = "TestsRunning"
    CONFIRMING = "Confirming"
    REGISTERING = "Registering"
    NOTHING_TO_VERIFY = "NothingToVerify"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    RECORDING = "Recording"
    OPERATOR_STARTING = "OperatorStarting"
    GATE_BUSY = "GateBusy"
    # a consumer or a provider must act
    CONTRACT_BROKEN = "ContractBroken"
    TESTS_FAILED = "TestsFailed"
    NOTHING_WRITTEN = "NothingWritten"
    PACT_INVALID = "PactInvalid"
    PACT_NAMES_ANOTHER_CONSUMER = "PactNamesAnotherConsumer"
    PUBLISH_REJECTED = "PublishRejected"
    PROVIDER_NOT_READY = "ProviderNotReady"
    PROVIDER_STATES_UNAVAILABLE = "ProviderStatesUnavailable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CANNOT_START = "ContainerCannotStart"
    ROLLOUT_FAILED = "RolloutFailed"
    VERSION_NOT_IN_BROKER = "VersionNotInBroker"
    COUNTERPART_NOT_DEPLOYED = "CounterpartNotDeployed"
    # the platform must act, or it passes
    BROKER_UNAVAILABLE = "BrokerUnavailable"
    BROKER_UNAUTHORIZED = "BrokerUnauthorized"
    BROKER_NOT_FOUND = "BrokerNotFound"
    CREDENTIALS_NOT_FOUND = "CredentialsNotFound"
    NOT_A_BROKER = "NotABroker"
    WEBHOOK_REFUSED = "WebhookRefused"
    MAIN_BRANCH_DIFFERS = "MainBranchDiffers"
    WORKLOAD_NOT_FOUND = "WorkloadNotFound"
    VERSION_UNKNOWN = "VersionUnknown"
    NOTHING_TO_CHECK = "NothingToCheck"
    ENVIRONMENT_NOT_IN_BROKER = "EnvironmentNotInBroker"
    DRIFT = "Drift"
    INSTANCE_CONFLICT = "InstanceConflict"
    RESULT_MISSING = "ResultMissing"
    PACT_NOT_FOUND = "PactNotFound"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    UNSCHEDULABLE = "Unschedulable"
    JOB_REJECTED = "JobRejected"
    OUT_OF_MEMORY = "OutOfMemory"
    JOB_FAILED = "JobFailed"
    INVALID_SPEC = "InvalidSpec"
    SUSPENDED = "Suspended"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Advice:
    """Who must act on a reason, what to do next, and whether the operator tries again by itself."""

    actor: Actor
    next_step: str
    retried: bool = False


_N, _C, _P, _T, _W = Actor.NONE, Actor.CONSUMER, Actor.PROVIDER, Actor.PLATFORM, Actor.NOBODY

ADVICE: dict[Reason, Advice] = {
    Reason.ALL_VERIFIED: Advice(_N, "Nothing: every contract in scope holds."),
    Reason.PASSED: Advice(_N, "Nothing: every interaction held, and the broker has the results."),
    Reason.PUBLISHED: Advice(_N, "Nothing: the pacts of this version are in the broker."),
    Reason.REACHABLE: Advice(_N, "Nothing: the broker answers and takes the credentials."),
    Reason.REGISTERED: Advice(_N, "Nothing: the broker tells the operator of new pacts."),
    Reason.RESULTS_READ_BACK: Advice(_N, "Nothing: the results were read back from the broker."),
    Reason.IN_SYNC: Advice(_N, "Nothing: the status shows what the broker holds."),
    Reason.ALLOWED: Advice(_N, "Nothing: the version keeps its contracts with what is deployed in the environment."),
    Reason.DEPLOYMENT_RECORDED: Advice(_N, "Nothing: the broker holds as deployed what runs."),
    Reason.NOTHING_DEPLOYED: Advice(_N, "Nothing: nothing runs, and the broker holds nothing as deployed."),
    Reason.MAIN_BRANCH_SET: Advice(_N, "Nothing: the broker has the main branch that the spec names."),
    Reason.VERIFICATION_PENDING: Advice(_W, "Wait: a verification is owed or running.", retried=True),
    Reason.PENDING: Advice(_W, "Wait: the Job has not started yet.", retried=True),
    Reason.RUNNING: Advice(_W, "Wait: the verifier is at work.", retried=True),
    Reason.RETRYING: Advice(_W, "Wait: the last try hit infrastructure trouble; the Job tries again.", retried=True),
    Reason.TESTS_RUNNING: Advice(_W, "Wait: the consumer's pact tests are running.", retried=True),
    Reason.CONFIRMING: Advice(_W, "Wait: the results are being read back from the broker.", retried=True),
    Reason.REGISTERING: Advice(_W, "Wait: it is being written to the broker.", retried=True),
    Reason.NOTHING_TO_VERIFY: Advice(
        _C, "Publish a pact for this provider, or widen spec.selectors: no contract is in scope.", retried=True
    ),
    Reason.ROLLOUT_IN_PROGRESS: Advice(
        _W, "Wait: the rollout has not completed; only what has is recorded as deployed.", retried=True
    ),
    Reason.RECORDING: Advice(_W, "Wait: the deployment is being recorded in the broker.", retried=True),
    Reason.OPERATOR_STARTING: Advice(
        _W, "Ask again in a moment: the operator is still reading its objects.", retried=True
    ),
    Reason.GATE_BUSY: Advice(
        _W, "Ask again: the gate was asked more at once than the broker answers in time.", retried=True
    ),
    Reason.CONTRACT_BROKEN: Advice(
        _P, "Read the mismatch: serve what the consumer expects, or agree on a change with the consumer's team."
    ),
    Reason.TESTS_FAILED: Advice(_C, "Read the Job's log, mend the pact tests, and set a new version."),
    Reason.NOTHING_WRITTEN: Advice(_C, "Let the tests write their pact files into /pacts."),
    Reason.PACT_INVALID: Advice(_C, "Write pact files that are JSON pacts with a consumer and a provider name."),
    Reason.PACT_NAMES_ANOTHER_CONSUMER: Advice(
        _C, "Use the same consumer name in the pact tests as in spec.pacticipant."
    ),
    Reason.PUBLISH_REJECTED: Advice(
        _C, "Publish changed content under a new version, or mend what the broker's answer names."
    ),
    Reason.PROVIDER_NOT_READY: Advice(
        _P, "Start the provider's image by hand: it did not answer at its readiness path in time.", retried=True
    ),
    Reason.PROVIDER_STATES_UNAVAILABLE: Advice(
        _P, "Switch the provider-state endpoint on in the verification's Pod template, or mend its path.", retried=True
    ),
    Reason.IMAGE_PULL_FAILED: Advice(
        _P, "Push or load the image of that very version, or mend its name.", retried=True
    ),
    Reason.CONTAINER_CANNOT_START: Advice(
        _P, "Mend the Pod template: the kubelet cannot create one of its containers.", retried=True
    ),
    Reason.ROLLOUT_FAILED: Advice(
        _P, "Read `kubectl rollout status` of the Deployment: its rollout does not complete.", retried=True
    ),
    Reason.VERSION_NOT_IN_BROKER: Advice(
        _P,
        "Let the broker learn of the version: verify it (provider) or publish its pacts (consumer). "
        "The operator never makes a version up.",
        retried=True,
    ),
    Reason.COUNTERPART_NOT_DEPLOYED: Advice(
        _P, "Deploy the provider that the message names to the environment first.", retried=True
    ),
    Reason.BROKER_UNAVAILABLE: Advice(_T, "Bring the broker back; the operator tries again by itself.", retried=True),
    Reason.BROKER_UNAUTHORIZED: Advice(
        _T, "Put working credentials into the Secrets that the PactBroker names.", retried=True
    ),
    Reason.BROKER_NOT_FOUND: Advice(_T, "Create the PactBroker that spec.brokerRef names.", retried=True),
    Reason.CREDENTIALS_NOT_FOUND: Advice(_T, "Create the Secret that the PactBroker names.", retried=True),
    Reason.NOT_A_BROKER: Advice(_T, "Mend spec.url: what answers there is no Pact Broker.", retried=True),
    Reason.WEBHOOK_REFUSED: Advice(
        _T, "Allow the operator's hook address in the broker's webhook allow-lists.", retried=True
    ),
    Reason.MAIN_BRANCH_DIFFERS: Advice(
        _T, "Make spec.mainBranch and the pacticipant's main branch in the broker the same: one that is set stays."
    ),
    Reason.WORKLOAD_NOT_FOUND: Advice(_T, "Create the Deployment that spec.version.fromWorkload names.", retried=True),
    Reason.VERSION_UNKNOWN: Advice(
        _P, "Give the container's image a tag (or the label that is asked for): it is the version.", retried=True
    ),
    Reason.RESULT_MISSING: Advice(
        _T, "Look at the broker: the verifier passed, but the broker does not hold its results.", retried=True
    ),
    Reason.PACT_NOT_FOUND: Advice(_W, "Wait: the pact left the broker; the next look decides anew.", retried=True),
    Reason.NOTHING_TO_CHECK: Advice(
        _T,
        "Find out why no contract concerns this version: a pacticipant that has none yet may pass with "
        "spec.gate.whenNothingToCheck: Allow on the PactBroker.",
        retried=True,
    ),
    Reason.ENVIRONMENT_NOT_IN_BROKER: Advice(
        _T,
        "Name an environment that the broker has, or create it (spec.environment of a PactBroker does).",
        retried=True,
    ),
    Reason.DRIFT: Advice(
        _T,
        "Let the record follow the cluster (`pactctl record`, or spec.recording.mode: Record on the PactBroker), "
        "or roll out what the broker holds.",
        retried=True,
    ),
    Reason.INSTANCE_CONFLICT: Advice(
        _T, "Give each of the objects that share a pacticipant and an environment its own spec.applicationInstance."
    ),
    Reason.DEADLINE_EXCEEDED: Advice(
        _P, "Find out what hung in the Job's log, or raise spec.run.activeDeadlineSeconds.", retried=True
    ),
    Reason.UNSCHEDULABLE: Advice(_T, "Make room on the nodes for the Job's Pod, or lower its requests.", retried=True),
    Reason.JOB_REJECTED: Advice(
        _T, "Read the message: the API server refuses the Job (quota, admission or Pod Security).", retried=True
    ),
    Reason.OUT_OF_MEMORY: Advice(_T, "Raise spec.run.resources.limits.memory.", retried=True),
    Reason.JOB_FAILED: Advice(_T, "Read the Job's events and log.", retried=True),
    Reason.INVALID_SPEC: Advice(_T, "Mend the field that the message names."),
    Reason.SUSPENDED: Advice(_T, "Set spec.suspend to false to go on."),
    Reason.DISABLED: Advice(_N, "Nothing: it is switched off in the spec."),
}
"""Reason -> advice; a test holds that no reason is left out."""
