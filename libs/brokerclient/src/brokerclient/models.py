"""What the broker's answers mean to us: small frozen values, no HAL, no HTTP.

Times are kept as the broker's ISO 8601 text (`2026-01-31T10:00:00+00:00`, UTC). Every URL starts with the base
URL that the client was given, whatever host the broker put into its links.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """User name and password, as the open-source broker takes them."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BearerAuth:
    """A bearer token, as PactFlow takes it."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """A line the broker wants a person to read; type is debug, info, success, warning, prompt or error."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class PublishedPact:
    """One pact as the broker holds it after publishing; `url` is None if the broker named none."""

    provider: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """Answer to `POST /contracts/publish`."""

    consumer: str
    consumer_version: str
    pacts: tuple[PublishedPact, ...]
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class PactForVerification:
    """One entry of `POST /pacts/provider/{p}/for-verification`: one (consumer, content) to verify.

    Attributes:
        consumer: Pacticipant name of the consumer.
        content_sha: SHA of the pact's content (40 hexadecimal digits from the reference broker).
        url: Where to fetch the pact so that its result is filed under the right consumer versions.
        pending: A failure must not fail the provider's build.
        wip: Work in progress: selected by `include_wip_since` only.
        short_description: Why it was selected, e.g. `latest from main branch`.
    """

    consumer: str
    content_sha: str
    url: str
    pending: bool = False
    wip: bool = False
    short_description: str = ""


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The latest result of one consumer version's pact with one provider version."""

    consumer: str
    consumer_version: str
    content_sha: str
    success: bool
    verified_at: str
    url: str
    published_at: str = ""
    """When the pact of this consumer version was published; RFC 3339."""


@dataclass(frozen=True, slots=True)
class VerificationDetail:
    """One verification result with what each interaction said.

    Attributes:
        test_results: As published: `interactionId`, `success`, `mismatches`, ... per interaction.
    """

    success: bool
    provider_version: str
    verified_at: str | None
    url: str | None
    test_results: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Pacticipant:
    """An application that takes part in pacts."""

    name: str
    main_branch: str | None


@dataclass(frozen=True, slots=True)
class BranchVersion:
    """A version's place on a branch; `latest` says that it is the branch's head."""

    name: str
    latest: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A pacticipant version."""

    number: str
    created_at: str | None
    build_url: str | None
    branches: tuple[BranchVersion, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """A place that versions are deployed to."""

    uuid: str
    name: str
    display_name: str
    production: bool


@dataclass(frozen=True, slots=True)
class DeployedVersion:
    """A version recorded as running in an environment; `application_instance` None is an instance of its own."""

    uuid: str
    pacticipant: str
    version: str
    application_instance: str | None
    currently_deployed: bool
    created_at: str | None


@dataclass(frozen=True, slots=True)
class ReleasedVersion:
    """A version recorded as released to an environment, until its support ends."""

    uuid: str
    pacticipant: str
    version: str
    currently_supported: bool
    created_at: str | None


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One (consumer version, provider version) pair of the matrix.

    Attributes:
        provider_version: None if no version of the provider was selected or none has a result.
        success: None if there is no result yet.
        content_sha: Parsed from the result's link, so None without a result.
    """

    consumer: str
    consumer_version: str
    provider: str
    provider_version: str | None
    pact_url: str | None
    success: bool | None
    verified_at: str | None
    result_url: str | None
    content_sha: str | None
    ignored: bool = False
    consumer_branch: str | None = None
    provider_branch: str | None = None
    published_at: str | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """Answer to `GET /matrix`; `deployable` None means that a result is missing."""

    deployable: bool | None
    reason: str
    success: int
    failed: int
    unknown: int
    rows: tuple[MatrixRow, ...]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class CanIDeploy:
    """May this version be deployed?

    `deployable` True with no `rows` means that nothing was found that could object: a reason of its own, and
    not the same as "verified".
    """

    deployable: bool | None
    reason: str
    rows: tuple[MatrixRow, ...]
    success: int = 0
    failed: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class LatestPact:
    """The latest pact of a consumer with a provider (`GET /pacts/latest`)."""

    consumer: str
    consumer_version: str
    provider: str
    created_at: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as the broker stores it; `definition` is its whole body (secrets come back as asterisks)."""

    uuid: str
    description: str
    enabled: bool
    definition: Mapping[str, Any]
