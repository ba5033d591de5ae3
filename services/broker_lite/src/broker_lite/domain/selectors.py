"""Consumer version selectors: which consumers' pacts a provider is to verify.

Source: the consumer version selectors of the for-verification resource. Keys as clients send them are checked here
and turned into `Selector`; finding the versions is the store's part.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any


class Kind(Enum):
    """What a selector selects."""

    MAIN_BRANCH = "latest_for_main_branch"
    EACH_BRANCH = "latest_for_each_branch"
    BRANCH = "latest_for_branch"
    DEPLOYED = "currently_deployed"
    RELEASED = "currently_supported"
    ENVIRONMENT = "in_environment"
    LATEST_TAG = "latest_for_tag"
    ALL_TAG = "all_for_tag"
    LATEST = "overall_latest"


@dataclass(frozen=True)
class Selector:
    """One selector, checked.

    Attributes:
        kind: what is selected.
        consumer: only this consumer's pacts.
        name: branch, tag or environment name, by kind.
        fallback: branch or tag to use for the whole selector where nothing was found.
        fell_back: whether `fallback` was used.
    """

    kind: Kind
    consumer: str | None = None
    name: str | None = None
    fallback: str | None = None
    fell_back: bool = False

    def used_fallback(self) -> "Selector":
        """The same selector, marked as resolved by its fallback."""
        return replace(self, fell_back=True)


@dataclass(frozen=True)
class Resolved:
    """A selector together with one consumer version that it found.

    Attributes:
        selector: the selector.
        version: number of the consumer version.
        order: order of creation of that version; higher is newer.
        main_branch: main branch of the consumer.
        branch: branch through which the version was found (for a selector of every branch).
        environment: where the version is deployed or supported.
        production: whether that environment is a production environment.
    """

    selector: Selector
    version: str
    order: int
    main_branch: str | None = None
    branch: str | None = None
    environment: str | None = None
    production: bool = False


BOOLEAN_KEYS = ("mainBranch", "matchingBranch", "latest", "deployed", "released", "deployedOrReleased")
TEXT_KEYS = ("tag", "fallbackTag", "fallbackBranch", "consumer", "environment")
_SELECTING = ("environment", "tag", "branch", *BOOLEAN_KEYS)
_BRANCH_LIKE = ("mainBranch", "matchingBranch", "branch", "tag")
_ENVIRONMENT_LIKE = ("deployed", "released", "deployedOrReleased", "environment")


def problems(selector: Any, environments: Collection[str], provider_branch: str | None) -> list[str]:
    """What is wrong with one selector as sent; empty if nothing is."""
    if not isinstance(selector, dict):
        return ["must be a hash"]
    found = _type_problems(selector)
    if found:
        return found
    given = {key: value for key, value in selector.items() if value not in (None, False) or key == "latest"}
    found = _environment_problems(given, environments) + _branch_problems(given, provider_branch)
    found += _mixing_problems(given)
    truthy = [key for key in _SELECTING if given.get(key)]
    if not truthy:
        found.append(
            "must specify a value for environment or tag or branch, or specify mainBranch=true, matchingBranch=true, "
            "latest=true, deployed=true, released=true or deployedOrReleased=true"
        )
    return found


def _type_problems(selector: dict[str, Any]) -> list[str]:
    found = [
        f"{key} must be boolean"
        for key in BOOLEAN_KEYS
        if selector.get(key) is not None and not isinstance(selector[key], bool)
    ]
    for key in TEXT_KEYS:
        value = selector.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            found.append(f"{key} must be a string")
        elif not value.strip():
            found.append(f"{key} cannot be blank")
    branch = selector.get("branch")
    if branch is not None and branch is not True and not (isinstance(branch, str) and branch.strip()):
        found.append("branch must be a string or true, and cannot be blank")
    return found


def _environment_problems(given: dict[str, Any], environments: Collection[str]) -> list[str]:
    name = given.get("environment")
    if name and name not in environments:
        return [f"environment with name '{name}' does not exist"]
    return []


def _branch_problems(given: dict[str, Any], provider_branch: str | None) -> list[str]:
    found = []
    if given.get("matchingBranch") and not provider_branch:
        found.append("the providerVersionBranch must be specified when the selector matchingBranch=true is used")
    if given.get("tag") and given.get("branch"):
        found.append("cannot specify both a tag and a branch")
    if given.get("fallbackTag") and not given.get("tag"):
        found.append("a tag must be specified when a fallbackTag is specified")
    if given.get("fallbackBranch") and not given.get("branch"):
        found.append("a branch must be specified when a fallbackBranch is specified")
    if given.get("fallbackTag") and not given.get("latest"):
        found.append("fallbackTag can only be set if latest is true")
    if given.get("latest", True) is False:
        if given.get("fallbackBranch"):
            found.append("fallbackBranch can only be set if latest is true")
        if given.get("branch"):
            found.append("cannot specify a branch with latest=false")
        if given.get("mainBranch"):
            found.append("cannot specify mainBranch=true with latest=false")
    return found


def _mixing_problems(given: dict[str, Any]) -> list[str]:
    keys = {key for key, value in given.items() if value}
    found = [
        f"cannot specify {key}=true with any other criteria apart from consumer"
        for key in ("mainBranch", "matchingBranch")
        if key in keys and keys - {key, "consumer", "latest"}
    ]
    if {"deployed", "released"} <= keys:
        found.append("cannot specify both deployed=true and released=true")
    if {"deployed", "deployedOrReleased"} <= keys:
        found.append("cannot specify both deployed=true and deployedOrReleased=true")
    if {"released", "deployedOrReleased"} <= keys:
        found.append("cannot specify both released=true and deployedOrReleased=true")
    if not found:
        found = [
            f"cannot specify the field {one} with the field {other}"
            for one in (*_BRANCH_LIKE[2:], "latest")
            for other in _ENVIRONMENT_LIKE
            if one in keys and other in keys
        ][:1]
    return found


def parse(selectors: Sequence[dict[str, Any]], provider_branch: str | None) -> list[Selector]:
    """Turn checked selectors into `Selector`; deployedOrReleased becomes two."""
    return [one for selector in selectors for one in _parse_one(selector, provider_branch)]


def _parse_one(given: dict[str, Any], provider_branch: str | None) -> list[Selector]:
    consumer, environment = given.get("consumer"), given.get("environment")

    def select(kind: Kind, name: str | None = None, fallback: str | None = None) -> Selector:
        return Selector(kind, consumer=consumer, name=name, fallback=fallback)

    if given.get("mainBranch"):
        result = [select(Kind.MAIN_BRANCH)]
    elif given.get("matchingBranch"):
        result = [select(Kind.BRANCH, provider_branch)]
    elif given.get("branch") is True:
        result = [select(Kind.EACH_BRANCH)]
    elif given.get("branch"):
        result = [select(Kind.BRANCH, given["branch"], given.get("fallbackBranch"))]
    elif given.get("tag"):
        kind = Kind.LATEST_TAG if given.get("latest") else Kind.ALL_TAG
        result = [select(kind, given["tag"], given.get("fallbackTag"))]
    elif given.get("deployedOrReleased"):
        result = [select(Kind.DEPLOYED, environment), select(Kind.RELEASED, environment)]
    elif given.get("deployed"):
        result = [select(Kind.DEPLOYED, environment)]
    elif given.get("released"):
        result = [select(Kind.RELEASED, environment)]
    elif environment:
        result = [select(Kind.ENVIRONMENT, environment)]
    else:
        result = [select(Kind.LATEST)]
    return result


@dataclass(frozen=True)
class ConsumerFacts:
    """What the default selection must know of one consumer of the provider."""

    name: str
    main_branch: str | None
    has_main_branch_version: bool
    has_main_branch_tag: bool


def defaults(consumers: Sequence[ConsumerFacts]) -> list[Selector]:
    """The selectors used when none are given: main branch else latest, plus everything deployed or released."""
    result = []
    for consumer in consumers:
        if consumer.main_branch and consumer.has_main_branch_version:
            result.append(Selector(Kind.MAIN_BRANCH, consumer=consumer.name))
        elif consumer.main_branch and consumer.has_main_branch_tag:
            result.append(Selector(Kind.LATEST_TAG, consumer=consumer.name, name=consumer.main_branch))
        else:
            result.append(Selector(Kind.LATEST, consumer=consumer.name))
    return [*result, Selector(Kind.DEPLOYED), Selector(Kind.RELEASED)]


def sort_key(resolved: Resolved) -> tuple[Any, ...]:
    """The order in which the selectors of one pact are listed."""
    selector = resolved.selector
    rank = {Kind.LATEST: 0, Kind.BRANCH: 1, Kind.LATEST_TAG: 2, Kind.ALL_TAG: 3, Kind.DEPLOYED: 4, Kind.RELEASED: 5}
    position = rank.get(selector.kind, 6)
    environment = ("", False) if resolved.environment is None else (resolved.environment, resolved.production)
    if position in (4, 5):
        return (position, environment[1], environment[0], resolved.order)
    return (position, selector.name or "", selector.consumer is None, selector.consumer or "", resolved.order)


@dataclass(frozen=True)
class Candidate:
    """A pact publication that was found, and how.

    Attributes:
        consumer: name of the consumer.
        sha: content SHA.
        pact_version_id: row of the content.
        created_at: when the publication was made.
        resolved: the selectors that found it.
    """

    consumer: str
    sha: str
    pact_version_id: int
    created_at: datetime
    resolved: tuple[Resolved, ...]

    @property
    def newest(self) -> Resolved:
        """The newest consumer version; it names the pact."""
        return max(self.resolved, key=lambda one: one.order)


def merge(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One entry per consumer and content; sorted by consumer, then by the newest version."""
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.consumer, candidate.sha), []).append(candidate)
    merged = []
    for group in groups.values():
        newest = max(group, key=lambda one: one.newest.order)
        resolved = sorted((one for candidate in group for one in candidate.resolved), key=sort_key)
        merged.append(replace(newest, resolved=tuple(resolved)))
    return sorted(merged, key=lambda one: (one.consumer, one.newest.order))
