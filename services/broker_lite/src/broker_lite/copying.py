"""Copying everything into another broker by that broker's public API: the way out, to the official image.

What happened is told once more, in its order: versions come about, are put on branches and tagged, publish pacts, get
results, are deployed and released. So the other broker orders versions, finds heads and decides what is pending as this
one does. It notes its own time for all of it, gives its own numbers to results and its own ids to environments and
deployments; nothing but webhooks (their ids are kept) can be told otherwise.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from broker_lite.domain import content, matrix
from broker_lite.domain.matrix import Options, Selector
from broker_lite.store import matrix as store_matrix
from broker_lite.store import pacticipants, pacts
from broker_lite.store.models import (
    Base,
    BranchVersion,
    DeployedVersion,
    Environment,
    Pacticipant,
    PactPublication,
    PactVersion,
    ReleasedVersion,
    Tag,
    Verification,
    Version,
    Webhook,
)
from broker_lite.urls import Urls

_ROWS_COMPARED = 1_000
"""Rows of each pair's matrix, the newest first, that are compared after copying."""


class CopyError(RuntimeError):
    """The other broker did not do as asked; the text says what was asked and what it answered."""


class TargetUnavailableError(CopyError):
    """The other broker could not be reached."""


@dataclass
class Report:
    """What was copied, and what could not be.

    Attributes:
        counts: numbers by what was copied.
        problems: sentences about what is not in the other broker as it is here.
        pairs: pairs whose matrices were compared.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    pairs: int = 0

    def count(self, what: str) -> None:
        """One more of something."""
        self.counts[what] = self.counts.get(what, 0) + 1


class Target:
    """The other broker."""

    def __init__(self, client: httpx.Client) -> None:
        """Args: client: with the broker's base URL and credentials."""
        self._client = client
        self.urls = Urls(str(client.base_url).rstrip("/"))

    def send(self, method: str, url: str, body: Any = None, *, media_type: str = "application/json") -> Any:
        """Ask, and return the answer's JSON.

        Raises:
            TargetUnavailableError: no answer.
            CopyError: an answer that is no success.
        """
        headers = {"accept": "application/hal+json"} | ({} if body is None else {"content-type": media_type})
        data = None if body is None else body if isinstance(body, str) else json.dumps(body)
        try:
            answer = self._client.request(method, url, content=data, headers=headers)
        except httpx.HTTPError as error:
            raise TargetUnavailableError(f"{method} {url}: {error or type(error).__name__}") from error
        if not answer.is_success:
            raise CopyError(f"{method} {url} was answered with {answer.status_code}: {answer.text[:500].strip()}")
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise CopyError(f"{method} {url} was not answered with JSON: is this a Pact Broker?") from None


Moment = tuple[datetime, int, int]
Step = Callable[[], None]


class Copier:
    """Copies one store into one broker."""

    def __init__(self, session: Session, target: Target, say: Callable[[str], None]) -> None:
        """Args: session: a reading transaction on the store; target: the other broker; say: takes progress."""
        self._session = session
        self._target = target
        self._say = say
        self._environments: dict[int, str] = {}
        self._places: dict[tuple[type[Base], int], str] = {}
        self._tags: dict[int, list[str]] = {}
        self.report = Report()

    def run(self, *, into_filled: bool = False) -> Report:
        """Copy everything, then compare.

        Args:
            into_filled: whether the other broker may hold something already.

        Raises:
            CopyError: the other broker refused something, or holds pacticipants and `into_filled` is not set.
        """
        held = self._target.send("GET", self._target.urls.pacticipants())
        if not into_filled and held["_embedded"]["pacticipants"]:
            raise CopyError(
                f"The broker at {self._target.urls.base} holds pacticipants already. Copy into an empty one, or say "
                "--into-filled: what is there stays, and results of an earlier copy will stand there twice."
            )
        self._owners()
        for number, step in enumerate(self._steps(), 1):
            step()
            if number % 1_000 == 0:
                self._say(f"{number} steps done")
        self._webhooks()
        self._say("copied; comparing the matrices")
        self._compare()
        return self.report

    def _owners(self) -> None:
        urls = self._target.urls
        for row in self._session.scalars(select(Pacticipant).order_by(Pacticipant.id)):
            properties = {key: getattr(row, attribute) for key, attribute in pacticipants.FIELDS.items()}
            given = {key: value for key, value in properties.items() if value is not None}
            self._target.send("POST", urls.pacticipants(), {"name": row.name, **given})
            for label in pacticipants.labels(self._session, [row.id])[row.id]:
                self._target.send("PUT", urls.label(row.name, label.name), {})
            self.report.count("pacticipants")
        held = self._target.send("GET", urls.environments())["_embedded"]["environments"]
        known = {one["name"]: one["uuid"] for one in held}
        for environment in self._session.scalars(select(Environment).order_by(Environment.id)):
            body: dict[str, Any] = {"name": environment.name, "production": environment.production}
            if environment.display_name is not None:
                body["displayName"] = environment.display_name
            if environment.contacts:
                body["contacts"] = environment.contacts
            uuid = known.get(environment.name) or self._target.send("POST", urls.environments(), body)["uuid"]
            self._environments[environment.id] = uuid
            self.report.count("environments")

    def _steps(self) -> Iterator[Step]:
        """Everything that happened, in its order."""
        moments = _Moments()
        steps: list[tuple[Moment, Step]] = []

        def add(rank: int, row: Any, at: datetime, step: Callable[[Any], None]) -> None:
            steps.append(((at, rank, row.id if hasattr(row, "id") else 0), lambda: step(row)))

        session = self._session
        for version in session.scalars(select(Version).order_by(Version.id)):
            add(0, version, moments.of_version(version), self._version)
        members = select(BranchVersion).order_by(BranchVersion.id).options(joinedload(BranchVersion.version))
        for member in session.scalars(members):
            add(1, member, moments.after_version(member, member.version_id), self._branch)
        for tag in session.scalars(select(Tag).order_by(Tag.created_at, Tag.name)):
            add(2, tag, moments.after_version(tag, tag.version_id), self._tag)
        for publication in session.scalars(pacts.current().order_by(PactPublication.id)):
            add(3, publication, moments.of_publication(publication), self._pact)
        for result in session.scalars(select(Verification).order_by(Verification.id)):
            add(4, result, moments.of_result(result), self._result)
        for deployed in session.scalars(select(DeployedVersion).order_by(DeployedVersion.id)):
            add(6, deployed, moments.after_version(deployed, deployed.version_id), self._deployment)
            if deployed.undeployed_at is not None:
                add(5, deployed, max(deployed.undeployed_at, deployed.created_at), self._end)
        for released in session.scalars(select(ReleasedVersion).order_by(ReleasedVersion.id)):
            add(6, released, moments.after_version(released, released.version_id), self._release)
            if released.support_ended_at is not None:
                add(7, released, max(released.support_ended_at, released.created_at), self._end)
        for _, step in sorted(steps, key=lambda one: one[0]):
            yield step

    def _version(self, row: Version) -> None:
        body = {} if row.build_url is None else {"buildUrl": row.build_url}
        self._target.send("PUT", self._target.urls.version(row.pacticipant.name, row.number), body)
        self.report.count("versions")

    def _branch(self, row: BranchVersion) -> None:
        url = self._target.urls.branch_version(row.branch.pacticipant.name, row.branch.name, row.version.number)
        self._target.send("PUT", url, {})
        self.report.count("versions on branches")

    def _tag(self, row: Tag) -> None:
        # Written as a property of the version: a tag that is put on one may make a branch or record a deployment.
        names = self._tags.setdefault(row.version_id, [])
        names.append(row.name)
        body: dict[str, Any] = {"tags": [{"name": name} for name in names]}
        if row.version.build_url is not None:
            body["buildUrl"] = row.version.build_url
        self._target.send("PUT", self._target.urls.version(row.version.pacticipant.name, row.version.number), body)
        self.report.count("tags")

    def _pact(self, row: PactPublication) -> None:
        consumer, provider, number = row.consumer.name, row.provider.name, row.consumer_version.number
        text = published_form(
            pacts.contents(self._session, [row.pact_version_id])[row.pact_version_id], row.pact_version
        )
        answer = self._target.send("PUT", self._target.urls.pact(consumer, provider, number), text)
        sha = answer["_links"]["pb:pact-version"]["name"]
        if sha != row.pact_version.sha:
            raise CopyError(
                f"The pact of {consumer} {number} with {provider} has the content {row.pact_version.sha} here, and got "
                f"{sha} there: the results of the two cannot be told to belong together."
            )
        self.report.count("pacts")

    def _result(self, row: Verification) -> None:
        pact_version = self._session.get_one(
            PactVersion,
            row.pact_version_id,
            options=[joinedload(PactVersion.consumer), joinedload(PactVersion.provider)],
        )
        consumer, provider = pact_version.consumer.name, pact_version.provider.name
        body = {"success": row.success, "providerApplicationVersion": row.provider_version.number}
        tests = self._session.scalar(select(Verification.test_results).where(Verification.id == row.id))
        extras = {"buildUrl": row.build_url, "testResults": tests, "verifiedBy": _verified_by(row.verified_by)}
        body |= {key: value for key, value in extras.items() if value is not None}
        url = f"{self._target.urls.pact_version(consumer, provider, pact_version.sha)}/verification-results"
        self._target.send("POST", url, body)
        self.report.count("results")

    def _deployment(self, row: DeployedVersion) -> None:
        body = {} if row.target is None else {"applicationInstance": row.target, "target": row.target}
        url = self._target.urls.record_deployment(
            row.version.pacticipant.name, row.version.number, self._environments[row.environment_id]
        )
        self._places[DeployedVersion, row.id] = self._target.send("POST", url, body)["uuid"]
        self.report.count("deployments")

    def _release(self, row: ReleasedVersion) -> None:
        url = self._target.urls.record_release(
            row.version.pacticipant.name, row.version.number, self._environments[row.environment_id]
        )
        self._places[ReleasedVersion, row.id] = self._target.send("POST", url, {})["uuid"]
        self.report.count("releases")

    def _end(self, row: DeployedVersion | ReleasedVersion) -> None:
        uuid, urls = self._places[type(row), row.id], self._target.urls
        if isinstance(row, DeployedVersion):
            url, body = urls.deployed_version(uuid), {"currentlyDeployed": False}
        else:
            url, body = urls.released_version(uuid), {"currentlySupported": False}
        self._target.send("PATCH", url, body, media_type="application/merge-patch+json")

    def _webhooks(self) -> None:
        # Last, so that none tells of what is only told again.
        for row in self._session.scalars(select(Webhook).order_by(Webhook.id)):
            definition = webhook_definition(row)
            try:
                self._target.send("PUT", self._target.urls.webhook(row.uuid), definition)
            except TargetUnavailableError:
                raise
            except CopyError as error:
                self.report.problems.append(f"The webhook {row.uuid} was refused. {error}")
            else:
                self.report.count("webhooks")

    def _compare(self) -> None:
        for row in pacts.overall_latest(self._session):
            consumer, provider = row.consumer.name, row.provider.name
            pairs = [("q[][pacticipant]", consumer), ("q[][pacticipant]", provider), ("latestby", "cvpv")]
            query = httpx.QueryParams([*pairs, ("limit", str(_ROWS_COMPARED))])
            there = self._target.send("GET", f"{self._target.urls.base}/matrix?{query}")["matrix"]
            options = Options(latestby="cvpv", limit=_ROWS_COMPARED)
            here = store_matrix.find(self._session, [Selector(consumer), Selector(provider)], options)
            differences = _rows_here(here) ^ {_row_there(one) for one in there}
            if differences:
                example = ", ".join(str(one) for one in sorted(differences, key=str)[0])
                self.report.problems.append(
                    f"The matrices of {consumer} and {provider} differ in {len(differences)} rows, such as: {example}."
                )
            self.report.pairs += 1


class _Moments:
    """When things happened, in an order that the other broker can follow: nothing before what it needs.

    Rows of one transaction bear times a little before or after one another, in any order.
    """

    def __init__(self) -> None:
        self._latest: datetime | None = None
        self._versions: dict[int, datetime] = {}
        self._contents: dict[int, datetime] = {}

    def of_version(self, row: Version) -> datetime:
        # Versions are ordered by their ids, whatever their times say.
        self._latest = max(row.created_at, self._latest or row.created_at)
        self._versions[row.id] = self._latest
        return self._latest

    def after_version(self, row: BranchVersion | Tag | DeployedVersion | ReleasedVersion, version_id: int) -> datetime:
        return max(row.created_at, self._versions[version_id])

    def of_publication(self, row: PactPublication) -> datetime:
        at = max(row.created_at, self._versions[row.consumer_version_id])
        self._contents[row.pact_version_id] = min(at, self._contents.get(row.pact_version_id, at))
        return at

    def of_result(self, row: Verification) -> datetime:
        published = self._contents.get(row.pact_version_id, row.created_at)
        return max(row.created_at, self._versions[row.provider_version_id], published)


def published_form(text: str, row: PactVersion) -> str:
    """A stored content as it must be sent to get the SHA that it has here.

    Storing puts an id into every interaction that has none. Ids that are there when a pact is published count in its
    SHA, so those that storing put in are taken out again.
    """
    document = content.parse_json(text)
    bare = content.without_given_ids(document)
    return content.compact(bare) if content.content_sha(bare) == row.sha else text


def webhook_definition(row: Webhook) -> dict[str, Any]:
    """A webhook with its secrets, as it is created."""
    request = {
        "method": row.method,
        "url": row.url,
        "headers": row.headers or None,
        "body": row.body,
        "username": row.username,
        "password": row.password,
    }
    definition: dict[str, Any] = {
        "description": row.description,
        "enabled": row.enabled,
        "events": [{"name": name} for name in row.events],
        "request": {key: value for key, value in request.items() if value is not None},
    }
    for word, owner, label in (
        ("consumer", row.consumer, row.consumer_label),
        ("provider", row.provider, row.provider_label),
    ):
        if owner is not None:
            definition[word] = {"name": owner.name}
        elif label is not None:
            definition[word] = {"label": label}
    return {key: value for key, value in definition.items() if value is not None}


def _verified_by(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not stored:
        return None
    language = {
        "name": stored.get("client_implementation"),
        "testFramework": stored.get("client_test_framework"),
        "version": stored.get("client_version"),
    }
    language = {key: value for key, value in language.items() if value is not None}
    named = {key: stored[key] for key in ("implementation", "version") if key in stored}
    return named | ({"clientLanguage": language} if language else {})


_Compared = tuple[str, str | None, bool | None]


def _rows_here(result: matrix.Result) -> set[_Compared]:
    return {(one.consumer_version, one.provider_version, one.success) for one in result.considered}


def _row_there(row: Mapping[str, Any]) -> _Compared:
    version, result = row["provider"]["version"], row["verificationResult"]
    return (
        row["consumer"]["version"]["number"],
        version["number"] if version else None,
        result["success"] if result else None,
    )


def copy(session: Session, target: Target, say: Callable[[str], None], *, into_filled: bool = False) -> Report:
    """Copy a store into another broker, and compare; see `Copier.run`."""
    return Copier(session, target, say).run(into_filled=into_filled)


def summary(report: Report) -> Iterable[str]:
    """What to tell a person at the end."""
    yield ", ".join(f"{number} {what}" for what, number in report.counts.items()) or "There was nothing to copy."
    if not report.problems:
        yield f"The matrices of {report.pairs} pairs are equal in both brokers."
    yield from report.problems
