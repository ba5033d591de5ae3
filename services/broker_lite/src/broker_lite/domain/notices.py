"""The sentences that tell a verifier why a pact is there and what a failure will mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from broker_lite.domain.selectors import Kind, Resolved

READ_MORE_PENDING = "Read more at https://docs.pact.io/go/pending"
READ_MORE_WIP = "Read more at https://docs.pact.io/go/wip"
DEPRECATED_GET = (
    "WARNING - this version of the Pact library uses a beta version of the API which will be removed in the future. "
    "Please upgrade your Pact library. See https://docs.pact.io/pact_broker/advanced_topics/"
    "provider_verification_results/#pacts-for-verification for minimum required versions."
)


@dataclass(frozen=True)
class Verifiable:
    """A pact offered to a provider for verification.

    Attributes:
        consumer: name of the consumer.
        provider: name of the provider.
        resolved: why the pact was selected, in listing order.
        pending: None if the client did not ask for it.
        wip: whether it is offered as work in progress.
        provider_branch: branch of the provider version that verifies.
        pending_tags: provider version tags for which the pact is pending.
        settled_tags: provider version tags for which it is not.
    """

    consumer: str
    provider: str
    resolved: tuple[Resolved, ...]
    pending: bool | None = None
    wip: bool = False
    provider_branch: str | None = None
    pending_tags: tuple[str, ...] = field(default=())
    settled_tags: tuple[str, ...] = field(default=())


def joined(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]])) if words else ""


def _quoted(words: Sequence[str]) -> str:
    return joined([f"'{word}'" for word in words])


def short_description(pact: Verifiable) -> str:
    """The reasons in a few words: ``latest from main branch, deployed to production``."""
    return ", ".join(_short(one) for one in pact.resolved)


def _short(one: Resolved) -> str:
    selector = one.selector
    name = selector.fallback if selector.fell_back else selector.name
    texts: dict[Kind, Callable[[], str]] = {
        Kind.LATEST: lambda: "latest",
        Kind.LATEST_TAG: lambda: f"latest with tag {name}",
        Kind.MAIN_BRANCH: lambda: "latest from main branch",
        Kind.BRANCH: lambda: f"latest from branch {name}",
        Kind.EACH_BRANCH: lambda: f"latest from branch {one.branch}",
        Kind.ALL_TAG: lambda: f"one of {selector.consumer} {name}" if selector.consumer else f"one of {name}",
        Kind.DEPLOYED: lambda: f"deployed to {one.environment}",
        Kind.RELEASED: lambda: f"released in {one.environment}",
        Kind.ENVIRONMENT: lambda: f"in environment {one.environment}",
    }
    return texts[selector.kind]()


def build(pact: Verifiable, pact_url: str, *, deprecated: bool = False) -> list[dict[str, str]]:
    """The notices of one pact, each with the moment at which it is to be shown."""
    texts = [("before_verification", DEPRECATED_GET)] if deprecated else []
    texts.append(("before_verification", _inclusion(pact, pact_url)))
    if pact.pending is not None:
        texts.append(("before_verification", _pending_reason(pact)))
    if pact.pending:
        subject, tags = _pending_subject(pact, "any"), _with_tags(pact)
        still = f"This pact is still in pending state for {subject} as"
        without = f"{still} a successful verification result {tags}has not yet been published"
        texts += [
            (
                "after_verification:success_true_published_false",
                f"{still} the successful verification results {tags}have not yet been published.",
            ),
            ("after_verification:success_false_published_false", without),
            (
                "after_verification:success_true_published_true",
                (
                    f"This pact is no longer in pending state for {subject}, as a successful verification result "
                    f"{tags}has been published. If a verification for a version of {pact.provider} {tags}fails in the "
                    f"future, it will fail the build. {READ_MORE_PENDING}"
                ),
            ),
            ("after_verification:success_false_published_true", without),
        ]
    return [{"when": when, "text": text} for when, text in texts]


def _inclusion(pact: Verifiable, pact_url: str) -> str:
    if pact.wip:
        return _wip_inclusion(pact, pact_url)
    count = len(pact.resolved)
    criteria = "criteria" if count > 1 else "criterion"
    versions = "the consumer versions" if count > 1 else "the consumer version"
    listed = "\n".join(f"    * {line}" for line in _descriptions(pact))
    return (
        f"The pact at {pact_url} is being verified because the pact content belongs to {versions} "
        f"matching the following {criteria}:\n{listed}"
    )


def _wip_inclusion(pact: Verifiable, pact_url: str) -> str:
    branches = [one.selector.name or "" for one in pact.resolved if one.selector.kind is Kind.BRANCH]
    tags = [one.selector.name or "" for one in pact.resolved if one.selector.kind is Kind.LATEST_TAG]
    version = "version" if len(tags) == 1 or len(branches) == 1 else "versions"
    parts = []
    if branches:
        parts.append(f"from {'branch' if len(branches) == 1 else 'branches'} {_quoted(branches)}")
    if tags:
        parts.append(f"tagged with {_quoted(tags)}")
    same = {1: "", 2: " (both have the same content)"}.get(len(pact.resolved), " (all have the same content)")
    return (
        f"The pact at {pact_url} is being verified because it is a 'work in progress' pact (ie. it is the pact for "
        f"the latest {version} of {pact.consumer} {' and '.join(parts)}{same} and it has not yet been successfully "
        f"verified by {_pending_subject(pact, 'a')} when the pact's application version was explicitly specified in "
        f"the consumer version selectors). {READ_MORE_WIP}"
    )


def _pending_reason(pact: Verifiable) -> str:
    if pact.pending and pact.wip:
        because = "it was included as a 'work in progress' pact"
    elif pact.pending:
        because = f"a successful verification result for {_pending_subject(pact, 'a')} has not yet been published"
    else:
        return (
            f"This pact has previously been successfully verified by {_settled_subject(pact)}. If this verification "
            f"fails, it will fail the build. {READ_MORE_PENDING}"
        )
    return (
        f"This pact is in pending state for this version of {pact.provider} because {because}. If this verification "
        f"fails, it will not cause the overall build to fail. {READ_MORE_PENDING}"
    )


def _pending_subject(pact: Verifiable, article: str) -> str:
    if pact.provider_branch:
        return f"{article} version of {pact.provider} from branch '{pact.provider_branch}'"
    tags = pact.pending_tags
    if not tags:
        return pact.provider
    if len(tags) == 1:
        return f"{article} version of {pact.provider} with tag '{tags[0]}'"
    return f"{article} versions of {pact.provider} with tag {_quoted(tags)}"


def _settled_subject(pact: Verifiable) -> str:
    if pact.provider_branch:
        return f"a version of {pact.provider} from branch '{pact.provider_branch}'"
    tags = pact.settled_tags
    return f"a version of {pact.provider} with tag {_quoted(tags)}" if tags else pact.provider


def _with_tags(pact: Verifiable) -> str:
    return {0: "", 1: "with this tag "}.get(len(pact.pending_tags), "with these tags ")


def _descriptions(pact: Verifiable) -> list[str]:
    lines: list[str] = []
    groups: dict[Kind, list[Resolved]] = {}
    for one in pact.resolved:
        groups.setdefault(one.selector.kind, []).append(one)
    for kind, group in groups.items():
        if kind is Kind.DEPLOYED:
            lines += _by_environment(group, "currently deployed to")
        elif kind is Kind.RELEASED:
            lines += _by_environment(group, "released and supported in")
        else:
            lines += [f"{_long(one, pact.provider)} ({one.version})" for one in group]
    return lines


def _by_environment(group: Sequence[Resolved], phrase: str) -> list[str]:
    lines = []
    for consumer, members in groupby(group, key=lambda one: one.selector.consumer):
        label = f"version(s) of {consumer}" if consumer else "consumer version(s)"
        places = joined([f"{one.environment} ({one.version})" for one in members])
        lines.append(f"{label} {phrase} {places}")
    return lines


def _long(one: Resolved, provider: str) -> str:
    selector = one.selector
    consumer = selector.consumer
    version = f"version of {consumer}" if consumer else "version"
    if selector.kind is Kind.LATEST:
        return f"latest version of {consumer or 'a consumer'} that has a pact with {provider}"
    if selector.kind is Kind.MAIN_BRANCH:
        return f"latest {version} from the main branch '{one.main_branch}'"
    if selector.kind is Kind.ENVIRONMENT:
        return f"{consumer or 'a consumer'} version in environment {one.environment}"
    if selector.kind is Kind.ALL_TAG:
        return f"all {consumer or 'consumer'} versions tagged '{selector.name}'"
    if selector.kind is Kind.EACH_BRANCH:
        return f"latest {version} from branch '{one.branch}'"
    tagged = selector.kind is Kind.LATEST_TAG
    if selector.fell_back:
        word, how = ("tag", f"with tag '{selector.name}'") if tagged else ("branch", f"from branch '{selector.name}'")
        where = f"tagged '{selector.fallback}'" if tagged else f"from branch '{selector.fallback}'"
        return f"latest {version} {where} (fallback {word} used as no pact was found {how})"
    return f"latest {version} tagged '{selector.name}'" if tagged else f"latest {version} from branch '{selector.name}'"
