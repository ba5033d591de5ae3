"""The matrix: which versions were verified together, and whether a version may be deployed.

The store resolves selectors to versions and fetches rows; what the rows mean is decided here. Source: the matrix and
can-i-deploy resources of the broker's API.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

MISSING = -1
"""Row id of a version or pacticipant that does not exist."""


@dataclass(frozen=True)
class Selector:
    """A selector as asked: a pacticipant and at most one way to name its versions."""

    pacticipant: str | None = None
    version: str | None = None
    latest: bool = False
    tag: str | None = None
    branch: str | None = None
    main_branch: bool = False
    environment: str | None = None

    @property
    def name_only(self) -> bool:
        """Whether all versions of the pacticipant are meant."""
        return not (self.version or self.latest or self.tag or self.branch or self.main_branch or self.environment)


@dataclass(frozen=True)
class Options:
    """How the matrix is asked for.

    Attributes:
        latestby: ``cvpv``, ``cvp``, ``cp``, or None for every result.
        environment: target environment; selectors for the other pacticipants are inferred from it.
        tag: target tag.
        main_branch: the target is the other pacticipants' main branches.
        latest: only the latest version of the target.
        success: outcomes to keep (None within: unknown); None for all.
        ignore: selectors whose rows do not count.
        limit: most rows fetched.
    """

    latestby: str | None = None
    environment: str | None = None
    tag: str | None = None
    main_branch: bool = False
    latest: bool = False
    success: tuple[bool | None, ...] | None = None
    ignore: tuple[Selector, ...] = ()
    limit: int = 100

    @property
    def infers(self) -> bool:
        """Whether versions of pacticipants that were not named are inferred."""
        return bool(self.latest or self.tag or self.environment or self.main_branch)

    def inferred(self, pacticipant: str) -> Selector:
        """The selector of a pacticipant that was not named."""
        return Selector(
            pacticipant,
            latest=self.latest,
            tag=self.tag,
            main_branch=self.main_branch,
            environment=self.environment,
        )


@dataclass(frozen=True)
class Version:
    """A version that a selector found; `branch` is the main branch's name where that was asked for."""

    id: int
    number: str
    branch: str | None = None


@dataclass(frozen=True)
class Resolved:
    """A selector bound to one version, to all versions of a pacticipant, or to nothing that exists."""

    asked: Selector
    pacticipant_id: int
    pacticipant: str
    specified: bool
    version_id: int | None = None
    version: str | None = None
    branch: str | None = None
    ignored: bool = False
    one_of_many: bool = False

    @property
    def exists(self) -> bool:
        """Whether the version exists (a selector of all versions always does)."""
        return self.version_id != MISSING

    @property
    def description(self) -> str:
        """The versions meant, in words."""
        return _describe(self)

    @property
    def missing_description(self) -> str:
        """Why no version was found, in words."""
        asked, name = self.asked, self.pacticipant
        if asked.tag:
            return f"No version with tag {asked.tag} exists for {name}"
        if asked.branch:
            return f"No version of {name} from branch {asked.branch} exists"
        if asked.main_branch:
            return f"No version of {name} from the main branch exists"
        if asked.environment:
            return (
                f"No version of {name} is currently recorded as deployed or released in environment {asked.environment}"
            )
        if asked.version:
            return f"No pacts or verifications have been published for version {asked.version} of {name}"
        return f"No pacts or verifications have been published for {name}"


def _describe(one: Resolved) -> str:
    asked, name, number = one.asked, one.pacticipant, one.version
    branch = asked.branch or one.branch
    shown = f"({number})" if number else "(no such version exists)"
    if asked.latest and asked.tag:
        return f"the latest version of {name} with tag {asked.tag} {shown}"
    if asked.main_branch and number is None:
        which = "the latest version" if asked.latest else "any version"
        return f"{which} of {name} from the main branch (no versions exist for this branch)"
    if branch:
        return _describe_branch(one, branch, shown)
    if asked.latest:
        return f"the latest version of {name} {shown}"
    if asked.tag:
        return f"a version of {name} with tag {asked.tag} {shown}"
    if asked.environment and number:
        which = "one of the versions" if one.one_of_many else "the version"
        return f"{which} of {name} currently in {asked.environment} ({number})"
    if asked.environment:
        return (
            f"a version of {name} currently in {asked.environment} (no version is currently recorded as "
            "deployed/released in this environment)"
        )
    if number:
        return f"version {number} of {name}" + ("" if one.exists else " (no such version exists)")
    return f"any version of {name}" + (" (no such pacticipant exists)" if one.pacticipant_id == MISSING else "")


def _describe_branch(one: Resolved, branch: str, shown: str) -> str:
    if one.asked.latest:
        return f"the latest version of {one.pacticipant} from branch {branch} {shown}"
    if one.version:
        which = "one of the versions" if one.one_of_many else "the version"
        return f"{which} of {one.pacticipant} from branch {branch} {shown}"
    return f"a version of {one.pacticipant} from branch {branch} {shown}"


def resolve(
    asked: Selector,
    pacticipant_id: int | None,
    versions: Sequence[Version] | None,
    *,
    specified: bool,
    ignore: Sequence[Resolved] = (),
) -> list[Resolved]:
    """Bind one selector to what was found for it.

    Args:
        asked: the selector.
        pacticipant_id: row of the pacticipant; None if there is none of that name.
        versions: versions found; None if all versions are meant.
        specified: whether the caller named it (else it was inferred).
        ignore: resolved selectors of what is to be ignored.
    """
    name = asked.pacticipant or ""
    if pacticipant_id is None:
        return [Resolved(asked, MISSING, name, specified)]

    def ignored(version_id: int | None) -> bool:
        return any(
            other.pacticipant_id == pacticipant_id
            and (other.asked.name_only or (version_id is not None and other.version_id == version_id))
            for other in ignore
        )

    base = Resolved(asked, pacticipant_id, name, specified)
    if versions is None:
        return [replace(base, ignored=ignored(None))]
    if not versions:
        return [replace(base, version_id=MISSING, version=asked.version, ignored=ignored(None))]
    found = versions[:1] if asked.latest else versions
    return [
        replace(
            base,
            version_id=version.id,
            version=version.number,
            branch=version.branch,
            ignored=ignored(version.id),
            one_of_many=len(found) > 1,
        )
        for version in found
    ]


@dataclass(frozen=True)
class Integration:
    """A consumer and a provider that have a pact; required if the consumer cannot do without the provider."""

    consumer_id: int
    consumer: str
    provider_id: int
    provider: str
    required: bool


@dataclass(frozen=True)
class Row:
    """One line of the matrix: a pact of a consumer version, and a result of a provider version or none."""

    consumer_id: int
    consumer: str
    consumer_version_id: int
    consumer_version: str
    provider_id: int
    provider: str
    publication_id: int
    pact_version_id: int
    pact_sha: str
    pact_created_at: datetime
    revision: int
    provider_version_id: int | None = None
    provider_version: str | None = None
    verification_id: int | None = None
    success: bool | None = None
    verified_at: datetime | None = None


_GROUPINGS: Mapping[str, Callable[[Row], tuple[Any, ...]]] = {
    "cvpv": lambda row: (row.consumer_version_id, row.provider_id, row.provider_version_id),
    "cvp": lambda row: (row.consumer_version_id, row.provider_id),
    "cp": lambda row: (row.consumer_id, row.provider_id),
}


def latest_by(rows: Sequence[Row], how: str | None) -> list[Row]:
    """Keep per group the row with the newest provider version; an unknown or absent `how` keeps all."""
    grouping = _GROUPINGS.get(how or "")
    if grouping is None:
        return list(rows)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(grouping(row), []).append(row)
    kept = []
    for group in groups.values():
        first = group[0]
        if first.provider_version_id is None:
            kept.append(first)
        else:
            newest = max(row.provider_version_id or MISSING for row in group)
            kept.append(next(row for row in group if row.provider_version_id == newest))
    return kept


def _sort_key(row: Row) -> tuple[Any, ...]:
    return (
        row.consumer,
        -row.consumer_version_id,
        -row.revision,
        row.provider,
        -(row.provider_version_id or MISSING),
        -(row.verification_id or MISSING),
    )


@dataclass(frozen=True)
class Result:
    """The matrix and the verdict.

    Attributes:
        considered: rows that count, sorted.
        ignored: rows that do not.
        deployable: True, False, or None while something is unknown.
        counts: success, failed, unknown and, where something was to be ignored, ignored.
        notices: (type, text) pairs; type is success, error or warning.
    """

    considered: list[Row]
    ignored: list[Row]
    deployable: bool | None
    counts: dict[str, int]
    notices: list[tuple[str, str]] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """All notices in one text."""
        return "\n".join(text for _, text in self.notices)


def is_ignored(row: Row, ignore: Iterable[Resolved]) -> bool:
    """Whether a row involves a pacticipant or version that is to be ignored."""
    sides = ((row.consumer_id, row.consumer_version_id), (row.provider_id, row.provider_version_id))
    return any(
        other.pacticipant_id == pacticipant_id
        and (other.asked.name_only or (version_id is not None and other.version_id == version_id))
        for other in ignore
        for pacticipant_id, version_id in sides
    )


def evaluate(
    rows: Sequence[Row],
    selectors: Sequence[Resolved],
    ignore: Sequence[Resolved],
    integrations: Sequence[Integration],
    options: Options,
) -> Result:
    """Reduce the rows as asked and say whether the named versions may be deployed.

    A provider version that is deployed beside others and has no result at all is hidden by one that has a result:
    rows exist for results, not for deployments (the reference broker decides the same way).
    """
    kept = latest_by(rows, options.latestby)
    if options.success is not None:
        kept = [row for row in kept if row.success in options.success]
    ignored = sorted((row for row in kept if is_ignored(row, ignore)), key=_sort_key)
    considered = sorted((row for row in kept if not is_ignored(row, ignore)), key=_sort_key)
    present = {(row.consumer_id, row.provider_id) for row in (*considered, *ignored)}
    unmet = [one for one in integrations if one.required and (one.consumer_id, one.provider_id) not in present]
    counts = {
        "success": sum(row.success is True for row in considered),
        "failed": sum(row.success is False for row in considered),
        "unknown": len(unmet) + sum(row.success is None for row in considered),
    }
    if ignore:
        counts["ignored"] = len(ignored)
    notices = _notices(considered, selectors, ignore, unmet, options)
    return Result(considered, ignored, _deployable(considered, selectors, unmet), counts, notices)


def _deployable(considered: Sequence[Row], selectors: Sequence[Resolved], unmet: Sequence[Integration]) -> bool | None:
    if any(one.specified and not one.ignored and not one.exists for one in selectors):
        return False
    if unmet or any(row.success is None for row in considered):
        return None
    return all(row.success for row in considered)


_NO_VERSION = (
    "WARN: It is recommended to specify the version number (rather than the tag or branch) of the pacticipant you wish "
    "to deploy to avoid race conditions. Without a version number, this result will not be reliable."
)
_NO_ENVIRONMENT = (
    "WARN: It is recommended to specify the environment into which you are deploying. Without the environment, this "
    "result will not be reliable."
)


def _warnings(selectors: Sequence[Resolved], ignore: Sequence[Resolved], options: Options) -> list[tuple[str, str]]:
    texts = [
        f"WARN: Cannot ignore {one.description}" for one in ignore if one.pacticipant_id == MISSING or not one.exists
    ]
    specified = [one for one in selectors if one.specified]
    if len(specified) == 1 and not (options.tag or options.environment or options.main_branch):
        texts.append(_NO_ENVIRONMENT)
    if any(not one.asked.name_only for one in specified) and not any(one.asked.version for one in specified):
        texts.append(_NO_VERSION)
    return [("warning", text) for text in texts]


def _notices(
    considered: Sequence[Row],
    selectors: Sequence[Resolved],
    ignore: Sequence[Resolved],
    unmet: Sequence[Integration],
    options: Options,
) -> list[tuple[str, str]]:
    warnings = _warnings(selectors, ignore, options)
    missing = [one for one in selectors if one.specified and not one.ignored and not one.exists]
    errors = [one.missing_description for one in missing]
    if not errors:

        def between(consumer: Resolved, provider: Resolved) -> str:
            return f"{consumer.description} and {provider.description}"

        def sides(row: Row) -> str:
            return between(
                _selector_for(selectors, row.consumer_id, row.consumer, row.consumer_version_id, row.consumer_version),
                _selector_for(selectors, row.provider_id, row.provider, row.provider_version_id, row.provider_version),
            )

        for one in unmet:
            consumer = _selector_for(selectors, one.consumer_id, one.consumer, None, None)
            provider = _selector_for(selectors, one.provider_id, one.provider, None, None)
            errors.append(f"There is no verified pact between {between(consumer, provider)}")
        errors += [
            f"The verification for the pact between {sides(row)} failed" for row in considered if row.success is False
        ]
        errors += [f"There is no verified pact between {sides(row)}" for row in considered if row.success is None]
    if errors:
        return warnings + [("error", text) for text in dict.fromkeys(errors)]
    text = (
        "All required verification results are published and successful"
        if considered
        else "There are no missing dependencies"
    )
    return [*warnings, ("success", text)]


def _selector_for(
    selectors: Sequence[Resolved], pacticipant_id: int, name: str, version_id: int | None, number: str | None
) -> Resolved:
    found = [one for one in selectors if one.pacticipant_id == pacticipant_id]
    if len(found) == 1:
        return found[0]
    if number is not None:
        exact = next((one for one in found if one.version == number), None)
        if exact is not None:
            return exact
        return Resolved(Selector(name), pacticipant_id, name, specified=False, version_id=version_id, version=number)
    return Resolved(Selector(name), pacticipant_id, name, specified=False)
