"""Links. Names are percent-encoded, so that a slash within a name is not a path separator."""

from dataclasses import dataclass
from urllib.parse import quote

from broker_lite.domain import nested_query
from broker_lite.domain.metadata import LinkMetadata


def encode(name: str) -> str:
    """One path segment."""
    return quote(name, safe="")


@dataclass(frozen=True)
class Urls:
    """All links, below one base URL."""

    base: str

    def doc(self, context: str) -> list[dict[str, object]]:
        """The curies of a resource."""
        return [{"name": "pb", "href": f"{self.base}/doc/{{rel}}?context={context}", "templated": True}]

    def pacticipants(self) -> str:
        """All pacticipants."""
        return f"{self.base}/pacticipants"

    def pacticipant(self, name: str) -> str:
        """A pacticipant."""
        return f"{self.base}/pacticipants/{encode(name)}"

    def pacticipants_with_label(self, label: str) -> str:
        """Pacticipants with a label."""
        return f"{self.base}/pacticipants/label/{encode(label)}"

    def label(self, pacticipant: str, label: str) -> str:
        """A label of a pacticipant."""
        return f"{self.pacticipant(pacticipant)}/labels/{encode(label)}"

    def version(self, pacticipant: str, number: str) -> str:
        """A version."""
        return f"{self.pacticipant(pacticipant)}/versions/{encode(number)}"

    def tag(self, pacticipant: str, number: str, tag: str) -> str:
        """A tag of a version."""
        return f"{self.version(pacticipant, number)}/tags/{encode(tag)}"

    def branch(self, pacticipant: str, branch: str) -> str:
        """A branch."""
        return f"{self.pacticipant(pacticipant)}/branches/{encode(branch)}"

    def branch_version(self, pacticipant: str, branch: str, number: str) -> str:
        """A version on a branch."""
        return f"{self.branch(pacticipant, branch)}/versions/{encode(number)}"

    def consumer_version_results(self, consumer: str, number: str) -> str:
        """The latest results of a consumer version."""
        return f"{self.base}/verification-results/consumer/{encode(consumer)}/version/{encode(number)}/latest"

    def pair(self, consumer: str, provider: str) -> str:
        """What is between a consumer and a provider."""
        return f"{self.base}/pacts/provider/{encode(provider)}/consumer/{encode(consumer)}"

    def pact(self, consumer: str, provider: str, number: str) -> str:
        """A consumer version's pact."""
        return f"{self.pair(consumer, provider)}/version/{encode(number)}"

    def pact_version(self, consumer: str, provider: str, sha: str, metadata: LinkMetadata | None = None) -> str:
        """A pact by content."""
        segment = metadata.encode() if metadata else ""
        suffix = f"/metadata/{segment}" if segment else ""
        return f"{self.pair(consumer, provider)}/pact-version/{sha}{suffix}"

    def latest_pact(self, consumer: str, provider: str, tag: str | None = None) -> str:
        """The latest pact, or the latest with a tag."""
        return f"{self.pair(consumer, provider)}/latest" + (f"/{encode(tag)}" if tag is not None else "")

    def verification(self, consumer: str, provider: str, sha: str, number: int | str, of: str | None = None) -> str:
        """A result; `of` names the consumer version it is shown for."""
        metadata = LinkMetadata(consumer_version=of) if of is not None else None
        return f"{self.pact_version(consumer, provider, sha, metadata)}/verification-results/{number}"

    def matrix_for(self, pacticipant: str, number: str) -> str:
        """Matrix rows of one version."""
        pairs = [("q[][pacticipant]", pacticipant), ("q[][version]", number), ("latestby", "cvpv")]
        return f"{self.base}/matrix?{nested_query.build(pairs)}"

    def environments(self) -> str:
        """All environments."""
        return f"{self.base}/environments"

    def environment(self, uuid: str) -> str:
        """An environment."""
        return f"{self.base}/environments/{uuid}"

    def record_deployment(self, pacticipant: str, number: str, environment: str) -> str:
        """Where a deployment is recorded."""
        return f"{self.version(pacticipant, number)}/deployed-versions/environment/{environment}"

    def record_release(self, pacticipant: str, number: str, environment: str) -> str:
        """Where a release is recorded."""
        return f"{self.version(pacticipant, number)}/released-versions/environment/{environment}"

    def deployed_version(self, uuid: str) -> str:
        """A deployment."""
        return f"{self.base}/deployed-versions/{uuid}"

    def released_version(self, uuid: str) -> str:
        """A release."""
        return f"{self.base}/released-versions/{uuid}"

    def webhooks(self) -> str:
        """All webhooks."""
        return f"{self.base}/webhooks"

    def webhook(self, uuid: str) -> str:
        """A webhook."""
        return f"{self.base}/webhooks/{encode(uuid)}"

    def webhooks_of_pair(self, consumer: str | None, provider: str | None) -> str:
        """Webhooks scoped to a consumer and a provider."""
        parts = [self.webhooks()]
        if provider is not None:
            parts += ["provider", encode(provider)]
        if consumer is not None:
            parts += ["consumer", encode(consumer)]
        return "/".join(parts)

    def webhook_logs(self, uuid: str) -> str:
        """Logs of a delivery."""
        return f"{self.base}/triggered-webhooks/{uuid}/logs"
