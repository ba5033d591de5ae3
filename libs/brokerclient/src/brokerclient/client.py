"""The client: one method per thing we ask of a Pact Broker."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from brokerclient import parse
from brokerclient.errors import InvalidRequest, NotFound, ProtocolError
from brokerclient.links import path, with_query
from brokerclient.models import (
    CanIDeploy,
    DeployedVersion,
    Environment,
    LatestPact,
    Matrix,
    PactForVerification,
    Pacticipant,
    Published,
    ReleasedVersion,
    VerificationDetail,
    VerificationResult,
    Version,
    Webhook,
)
from brokerclient.transport import MAX_BODY_BYTES, Auth, Transport

_MERGE_PATCH = "application/merge-patch+json"
_MATRIX_LIMITS = (1000, 10_000, 100_000)


class BrokerClient:
    """A synchronous client of one Pact Broker.

    Links in answers are reduced to path and query and moved to `base_url`: whatever host the broker believes to
    be called, no request and no returned URL leaves the configured one.

    Args:
        base_url: `http(s)://host[:port][/prefix]`, without credentials.
        auth: `BasicAuth`, `BearerAuth` or None for a broker that lets anyone in.
        ca_file: PEM file of the CA that signed the broker's certificate; None = the system's.
        timeout: Seconds to wait for each part of an answer; connecting takes at most 5 of them and a whole
            answer at most six times as many.
        user_agent: Names the caller in the broker's log.
        max_body_bytes: What an answer may have; a longer one is a `ProtocolError`. Decoded JSON can take twenty times
            as much memory.

    Raises:
        InvalidRequest: `base_url` is not usable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth = None,
        ca_file: str | None = None,
        timeout: float = 10.0,
        user_agent: str = "pact-operator",
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._http = Transport(
            base_url,
            auth=auth,
            ca_file=ca_file,
            timeout=timeout,
            user_agent=user_agent,
            max_body_bytes=max_body_bytes,
        )

    @property
    def base_url(self) -> str:
        """The configured base URL, without a trailing slash."""
        return self._http.base_url

    def close(self) -> None:
        """Close pooled connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def absolute(self, href: str) -> str:
        """Move a link of the broker to the configured base URL."""
        return self._http.absolute(href)

    # -- the broker itself

    def check(self) -> None:
        """Ask for the index (`GET /`) and make sure that it is a Pact Broker's.

        Raises:
            BrokerError: It is not reachable, does not let us in, or is something else (`ProtocolError`).
        """
        links = self._http.send("GET", "/").get("_links")
        if not isinstance(links, Mapping) or not any(str(name).startswith("pb:") for name in links):
            raise ProtocolError(f"{self.base_url} is not a Pact Broker: its index has no pb: links.")

    def heartbeat(self) -> None:
        """Ask whether the broker's process answers (`GET /diagnostic/status/heartbeat`).

        Raises:
            BrokerError: It does not.
        """
        if self._http.send("GET", "/diagnostic/status/heartbeat").get("ok") is not True:
            raise ProtocolError(f"{self.base_url} has no Pact Broker heartbeat.")

    def counts(self) -> Mapping[str, Any] | None:
        """Ask how much of what the broker holds, and since when (`GET /metrics`).

        Returns:
            Counts by resource, as the broker tells them; None if it does not tell (PactFlow, say).
        """
        try:
            return self._http.send("GET", "/metrics")
        except NotFound:
            return None

    # -- pacts

    def publish_contracts(
        self,
        consumer: str,
        consumer_version: str,
        contracts: Sequence[Mapping[str, Any]],
        *,
        branch: str | None = None,
        tags: Sequence[str] = (),
        build_url: str | None = None,
    ) -> Published:
        """Publish pacts of one consumer version in one request (`POST /contracts/publish`).

        Args:
            consumer: Pacticipant name; each contract's `consumer.name` must equal it.
            consumer_version: Version number of the consumer.
            contracts: Pact documents, at least one.
            branch: Branch the version is put on.
            tags: Tags the version gets.
            build_url: Page of the build that wrote the pacts.

        Raises:
            Conflict: The version already has a pact of other content (`.text` holds the diff), or a new name
                looks like an existing pacticipant's.
            InvalidRequest: No contract, or the broker refuses one.
        """
        if not contracts:
            raise InvalidRequest("There is no pact to publish.")
        body: dict[str, Any] = {
            "pacticipantName": consumer,
            "pacticipantVersionNumber": consumer_version,
            "contracts": [_contract(consumer, document) for document in contracts],
        }
        if branch:
            body["branch"] = branch
        if tags:
            body["tags"] = list(tags)
        if build_url:
            body["buildUrl"] = build_url
        return parse.published(self._http.send("POST", "/contracts/publish", body=body), self.absolute)

    def pacts_for_verification(
        self,
        provider: str,
        *,
        selectors: Sequence[Mapping[str, Any]],
        provider_branch: str | None = None,
        include_pending: bool = False,
        include_wip_since: str | None = None,
    ) -> list[PactForVerification]:
        """Ask which pacts a provider is to verify (`POST /pacts/provider/{p}/for-verification`).

        Args:
            provider: Pacticipant name.
            selectors: Consumer version selectors as the broker takes them; none = the broker's default choice.
            provider_branch: Branch of the provider version that will verify.
            include_pending: Mark pacts whose failure must not fail the provider.
            include_wip_since: `YYYY-MM-DD`; also select work in progress published since then.

        Returns:
            In the broker's order; empty if the broker does not know the provider.
        """
        body: dict[str, Any] = {
            "consumerVersionSelectors": [dict(selector) for selector in selectors],
            "includePendingStatus": include_pending,
        }
        if provider_branch:
            body["providerVersionBranch"] = provider_branch
        if include_wip_since:
            body["includeWipPactsSince"] = include_wip_since
        try:
            answer = self._http.send("POST", path("/pacts/provider/{}/for-verification", provider), body=body)
        except NotFound:
            return []
        return parse.pacts_for_verification(answer, self.absolute)

    def get_pact(self, url: str) -> Mapping[str, Any]:
        """Fetch a pact, with the broker's `_id`s and `_links`.

        Args:
            url: Link of a pact; only its path and query are used.
        """
        return self._http.send("GET", self._http.target(url))

    def latest_pacts(self) -> list[LatestPact]:
        """List the latest pact of every (consumer, provider) pair (`GET /pacts/latest`)."""
        return parse.latest_pacts(self._http.send("GET", "/pacts/latest"), self.absolute)

    # -- verification results

    def verification_results(self, provider: str, provider_version: str) -> list[VerificationResult]:
        """List the latest result per consumer version of one provider version, in one question.

        Source: `GET /matrix` with `latestby=cvpv`, results only.

        Returns:
            One entry per consumer version; two versions with equal content share `content_sha` and result.
            Empty if the broker knows no such provider version.
        """
        target_limit = 0
        for target_limit in _MATRIX_LIMITS:
            try:
                found = self.matrix(
                    [{"pacticipant": provider, "version": provider_version}],
                    latestby="cvpv",
                    success=(True, False),
                    limit=target_limit,
                )
            except InvalidRequest:
                # The matrix refuses a pacticipant it does not know; anything else wrong must be heard of.
                if self.pacticipant(provider) is None:
                    return []
                raise
            if len(found.rows) < target_limit:
                break
        else:
            raise ProtocolError(f"The broker holds more than {target_limit} results of one version of {provider}.")
        return [
            VerificationResult(
                consumer=row.consumer,
                consumer_version=row.consumer_version,
                content_sha=row.content_sha,
                success=row.success,
                verified_at=row.verified_at or "",
                url=row.result_url,
                published_at=row.published_at or "",
            )
            for row in found.rows
            # A pacticipant that is a consumer as well also gets the rows of its own pacts.
            if row.provider == provider
            and row.provider_version == provider_version
            and row.success is not None
            and row.content_sha is not None
            and row.result_url is not None
        ]

    def verification_result(self, url: str) -> VerificationDetail:
        """Fetch one verification result with the outcome of each interaction.

        Args:
            url: `VerificationResult.url` or `MatrixRow.result_url`.
        """
        return parse.verification_detail(self._http.send("GET", self._http.target(url)), self.absolute)

    def publish_verification_result(
        self,
        url: str,
        *,
        provider_version: str,
        success: bool,
        test_results: Sequence[Mapping[str, Any]] = (),
        build_url: str | None = None,
        verified_by: Mapping[str, Any] | None = None,
    ) -> VerificationDetail:
        """Publish a verification result.

        Args:
            url: The pact's `pb:publish-verification-results` link.
            provider_version: Version of the provider that was verified; created if the broker lacks it.
            success: Whether every interaction passed.
            test_results: Per interaction: `interactionId`, `success`, `mismatches`.
            build_url: Page of the build that verified.
            verified_by: `implementation` and `version` of the verifier.
        """
        body: dict[str, Any] = {"success": success, "providerApplicationVersion": provider_version}
        if test_results:
            body["testResults"] = [dict(item) for item in test_results]
        if build_url:
            body["buildUrl"] = build_url
        if verified_by:
            body["verifiedBy"] = dict(verified_by)
        answer = self._http.send("POST", self._http.target(url), body=body)
        return parse.verification_detail(answer, self.absolute)

    # -- pacticipants and versions

    def pacticipant(self, name: str) -> Pacticipant | None:
        """Fetch a pacticipant, None if the broker does not know it."""
        try:
            return parse.pacticipant(self._http.send("GET", path("/pacticipants/{}", name)))
        except NotFound:
            return None

    def ensure_pacticipant(self, name: str, *, main_branch: str | None = None) -> Pacticipant:
        """Create a pacticipant unless it is there; give it a main branch unless it has one.

        Returns:
            The pacticipant as the broker holds it now. A main branch that somebody else has set stays as it is.
        """
        found = self.pacticipant(name)
        if found is None:
            body = {"name": name} | ({"mainBranch": main_branch} if main_branch else {})
            found = parse.pacticipant(self._http.send("POST", "/pacticipants", body=body))
        if main_branch and not found.main_branch:
            # The broker answers 201 to a second creation and changes nothing, so look at what it holds.
            answer = self._http.send(
                "PATCH", path("/pacticipants/{}", name), body={"mainBranch": main_branch}, content_type=_MERGE_PATCH
            )
            found = parse.pacticipant(answer)
        return found

    def ensure_branch_version(self, pacticipant: str, branch: str, version: str) -> None:
        """Put a version on a branch, creating pacticipant, version and branch where missing.

        A version that is new to the branch becomes its head.
        """
        target = path("/pacticipants/{}/branches/{}/versions/{}", pacticipant, branch, version)
        self._http.send("PUT", target, body={})

    def version(self, pacticipant: str, number: str) -> Version | None:
        """Fetch a pacticipant version, None if the broker does not know it."""
        try:
            return parse.version(self._http.send("GET", path("/pacticipants/{}/versions/{}", pacticipant, number)))
        except NotFound:
            return None

    # -- environments and deployments

    def environments(self) -> list[Environment]:
        """List all environments (`GET /environments`)."""
        return parse.environments(self._http.send("GET", "/environments"))

    def ensure_environment(
        self, name: str, *, display_name: str | None = None, production: bool = False
    ) -> Environment:
        """Find an environment by name or create it; an existing one is left as it is."""
        found = self._environment(name)
        if found is not None:
            return found
        body: dict[str, Any] = {"name": name, "production": production}
        if display_name:
            body["displayName"] = display_name
        try:
            return parse.environment(self._http.send("POST", "/environments", body=body))
        except InvalidRequest:
            # Somebody else may have created it in between: then the name is taken, as wished.
            if (found := self._environment(name)) is not None:
                return found
            raise

    def _environment(self, name: str) -> Environment | None:
        return next((item for item in self.environments() if item.name == name), None)

    def record_deployment(
        self, pacticipant: str, version: str, environment_uuid: str, *, application_instance: str | None = None
    ) -> DeployedVersion:
        """Record that a version now runs in an environment, in place of what ran there as the same instance.

        Repeating it changes nothing.

        Raises:
            NotFound: The broker does not know the version or the environment.
        """
        target = path(
            "/pacticipants/{}/versions/{}/deployed-versions/environment/{}", pacticipant, version, environment_uuid
        )
        # Both names, as the command-line client sends them: brokers before 2.79 know only `target`.
        body = (
            {"applicationInstance": application_instance, "target": application_instance}
            if application_instance
            else {}
        )
        return parse.deployed_version(self._http.send("POST", target, body=body))

    def record_undeployment(self, deployed_version_uuid: str) -> DeployedVersion:
        """Record that a deployed version no longer runs."""
        answer = self._http.send(
            "PATCH",
            path("/deployed-versions/{}", deployed_version_uuid),
            body={"currentlyDeployed": False},
            content_type=_MERGE_PATCH,
        )
        return parse.deployed_version(answer)

    def record_release(self, pacticipant: str, version: str, environment_uuid: str) -> ReleasedVersion:
        """Record that a version is released to an environment, beside those released before."""
        target = path(
            "/pacticipants/{}/versions/{}/released-versions/environment/{}", pacticipant, version, environment_uuid
        )
        return parse.released_version(self._http.send("POST", target, body={}))

    def currently_deployed(self, environment_uuid: str, pacticipant: str | None = None) -> list[DeployedVersion]:
        """List what is recorded as deployed in an environment, newest first."""
        target = path("/environments/{}/deployed-versions/currently-deployed", environment_uuid)
        query = [("pacticipant", pacticipant)] if pacticipant else []
        return parse.deployed_versions(self._http.send("GET", with_query(target, query)))

    def currently_supported(self, environment_uuid: str, pacticipant: str | None = None) -> list[ReleasedVersion]:
        """List what is recorded as released and still supported in an environment."""
        target = path("/environments/{}/released-versions/currently-supported", environment_uuid)
        query = [("pacticipant", pacticipant)] if pacticipant else []
        return parse.released_versions(self._http.send("GET", with_query(target, query)))

    # -- the matrix

    def matrix(
        self,
        selectors: Sequence[Mapping[str, str | bool]],
        *,
        latestby: Literal["cvpv", "cvp", "cp"] | None = None,
        environment: str | None = None,
        tag: str | None = None,
        main_branch: bool = False,
        latest: bool = False,
        success: Sequence[bool | None] = (),
        ignore: Sequence[Mapping[str, str]] = (),
        limit: int | None = None,
    ) -> Matrix:
        """Ask the matrix (`GET /matrix`).

        Args:
            selectors: Each with `pacticipant` and, if wished, `version`, `branch`, `tag`, `environment`,
                `latest`, `mainBranch`. `pacticipant` is sent first: the broker reads the list by position.
            latestby: Which superseded results to leave out.
            environment: Look at what is deployed or released there.
            tag: Look at versions with this tag.
            main_branch: Look at main branches.
            latest: Only the latest of those.
            success: Keep rows with these outcomes; None is "no result".
            ignore: Pacticipants (`pacticipant`, `version`) whose rows do not count.
            limit: Most rows to send; the broker's default is 100.

        Raises:
            InvalidRequest: Unknown pacticipant or environment, or options that exclude each other.
        """
        query = [pair for item in selectors for pair in _selector("q", item)]
        query += [pair for item in ignore for pair in _selector("ignore", item)]
        options: Iterable[tuple[str, str | None]] = (
            ("latestby", latestby),
            ("environment", environment),
            ("tag", tag),
            ("mainBranch", "true" if main_branch else None),
            ("latest", "true" if latest else None),
        )
        query += [(key, value) for key, value in options if value]
        query += [("success[]", "" if item is None else _bool(item)) for item in success]
        if limit is not None:
            query.append(("limit", str(limit)))
        return parse.matrix(self._http.send("GET", with_query("/matrix", query)), self.absolute)

    def can_i_deploy(
        self,
        pacticipant: str,
        version: str,
        *,
        environment: str | None = None,
        tag: str | None = None,
        main_branch: bool = False,
        ignore: Sequence[str] = (),
        limit: int = 1000,
    ) -> CanIDeploy:
        """Ask whether a version may be deployed, as `pact broker can-i-deploy` does.

        Args:
            pacticipant: Name of what is to be deployed.
            version: Its version number.
            environment: Against what is deployed or released there.
            tag: Against the latest versions with this tag.
            main_branch: Against the heads of main branches.
            ignore: Names of pacticipants whose rows do not count.
            limit: Most rows to send.

        Raises:
            InvalidRequest: Unknown pacticipant or environment.
        """
        found = self.matrix(
            [{"pacticipant": pacticipant, "version": version}],
            latestby="cvpv" if environment else "cvp",
            environment=environment,
            tag=tag,
            main_branch=main_branch,
            latest=not environment,
            ignore=[{"pacticipant": name} for name in ignore],
            limit=limit,
        )
        return CanIDeploy(found.deployable, found.reason, found.rows, found.success, found.failed, found.unknown)

    # -- webhooks

    def put_webhook(self, uuid: str, definition: Mapping[str, Any]) -> Webhook:
        """Create or replace a webhook under an id of our own (`PUT /webhooks/{uuid}`).

        Args:
            uuid: 16 or more of A-Z a-z 0-9 _ -.
            definition: `description`, `events`, `request`, and `consumer` / `provider` to narrow it.

        Raises:
            InvalidRequest: The definition is refused, e.g. for a scheme or host that the broker does not allow.
        """
        return parse.webhook(self._http.send("PUT", path("/webhooks/{}", uuid), body=dict(definition)), uuid)

    def webhook(self, uuid: str) -> Webhook | None:
        """Fetch a webhook, None if there is none."""
        try:
            return parse.webhook(self._http.send("GET", path("/webhooks/{}", uuid)), uuid)
        except NotFound:
            return None

    def delete_webhook(self, uuid: str) -> bool:
        """Delete a webhook; False if there was none."""
        try:
            self._http.send("DELETE", path("/webhooks/{}", uuid), expect_body=False)
        except NotFound:
            return False
        return True


def _contract(consumer: str, document: Mapping[str, Any]) -> dict[str, str]:
    provider = document.get("provider")
    name = provider.get("name") if isinstance(provider, Mapping) else None
    if not isinstance(name, str):
        raise InvalidRequest("A pact does not name its provider (provider.name).")
    try:
        content = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        raise InvalidRequest(f"The pact with {name} holds something that JSON cannot carry.") from None
    return {
        "consumerName": consumer,
        "providerName": name,
        "specification": "pact",
        "contentType": "application/json",
        "content": b64encode(content).decode(),
    }


def _selector(key: str, item: Mapping[str, str | bool]) -> list[tuple[str, str]]:
    rest = [(name, value) for name, value in item.items() if name != "pacticipant"]
    ordered = [("pacticipant", item.get("pacticipant", "")), *rest]
    return [(f"{key}[][{name}]", _bool(value) if isinstance(value, bool) else value) for name, value in ordered]


def _bool(value: bool) -> str:
    return "true" if value else "false"
