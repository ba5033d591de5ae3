"""Names that other programs see: the API group, plurals, labels, annotations, finalizer, image and env contracts.

The one place for such strings; everything else imports them from here.
"""

from typing import Final

GROUP: Final = "pact-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "pact"

BROKER: Final = "PactBroker"
CONSUMER: Final = "PactConsumer"
PROVIDER: Final = "PactProvider"
VERIFICATION: Final = "PactVerification"

PLURALS: Final[dict[str, str]] = {
    BROKER: "pactbrokers",
    CONSUMER: "pactconsumers",
    PROVIDER: "pactproviders",
    VERIFICATION: "pactverifications",
}
"""Kind -> plural, as in the CRD and in URLs."""

LABEL_ROLE: Final = f"{GROUP}/role"
"""On every Job and Pod of ours: `verifier` or `consumer`; NetworkPolicies select on it."""
LABEL_OWNER: Final = f"{GROUP}/owner"
"""On every Job and Pod of ours: the name of the PactVerification or PactConsumer that it serves."""
LABEL_PROVIDER: Final = f"{GROUP}/provider"
"""On a PactVerification, its Job and Pod: the name of the PactProvider that wanted it."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "pact-operator"

ANNOTATION_REQUESTED: Final = f"{GROUP}/requested-at"
"""On a PactProvider: a new value runs its broken contracts once more, as a new `spec.rerun` does."""

ANNOTATION_RECORD: Final = f"{GROUP}/record-requested-at"
"""On a PactConsumer or PactProvider: a new value records once what runs, whatever spec.recording.mode says."""
LABEL_GATE: Final = f"{GROUP}/gate"
"""On a Deployment: `enabled` has the admission webhook ask the gate before it is rolled out."""

ROLE_VERIFIER: Final = "verifier"
ROLE_CONSUMER: Final = "consumer"

FINALIZER_WEBHOOK: Final = f"{GROUP}/webhook"
"""The only finalizer: a PactBroker's webhook is removed from the broker before the object goes."""

PACTS_PATH: Final = "/pacts"
"""Where a consumer's test containers write pact files and the publisher reads them."""

CONTAINER_VERIFIER: Final = "verifier"
CONTAINER_PUBLISHER: Final = "publisher"

VERIFIER_SCHEMA: Final = "pact-operator.dev/verifier/v1"
PUBLISHER_SCHEMA: Final = "pact-operator.dev/publisher/v1"

EXIT_PASSED: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOTHING: Final = 2
EXIT_INFRASTRUCTURE: Final = 75
"""EX_TEMPFAIL of sysexits(3): the one exit code that is worth another try."""
