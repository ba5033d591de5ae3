"""Did the content of a contract change? The answer names the reason."""

from collections.abc import Mapping, Sequence

UNTAGGED = None
"""Key of the previous pact of an untagged version."""


def content_change(sha: str, previous: Mapping[str | None, str | None]) -> str | None:
    """Why a newly published pact counts as changed, or None if it does not.

    Args:
        sha: content SHA of the new pact.
        previous: SHA of the latest earlier pact (None: there is none) by tag of the new version; an untagged version
            has the one key `UNTAGGED`.
    """
    reasons = []
    for tag, earlier in previous.items():
        if earlier == sha:
            continue
        if tag is UNTAGGED:
            reasons.append(
                "pact content has changed since previous untagged version"
                if earlier
                else "first time untagged pact published"
            )
        elif earlier:
            reasons.append(f"pact content has changed since the last consumer version tagged with {tag}")
        else:
            reasons.append(f"first time any pact published for this consumer with consumer version tagged {tag}")
    return ", ".join(reasons) or None


def unchanged_comment(tags: Sequence[str]) -> str:
    """What is said of a first publication with content that is known already."""
    if len(tags) == 1:
        return f"pact content is the same as previous version with tag {tags[0]} and no new tags were applied"
    return f"pact content is the same as previous versions with tags {', '.join(tags)} and no new tags were applied"
