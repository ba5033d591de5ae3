"""Pact content: its identity (SHA), the ids of its interactions, merging and provider states.

Two publications with the same SHA are the same contract, whatever their consumer version and metadata.
"""

import hashlib
import json
from typing import Any

MAX_DEPTH = 100
"""Deepest nesting of a JSON document that is accepted."""

Json = Any


class InvalidContentError(ValueError):
    """A document that is not JSON as a pact must be; the text says why."""


def parse_json(text: str) -> Json:
    """Parse strict JSON (no NaN, no Infinity, bounded nesting).

    Raises:
        InvalidContentError: if the text is not JSON or is nested deeper than `MAX_DEPTH`.
    """

    def refuse(constant: str) -> None:
        raise InvalidContentError(f"{constant} is not JSON")

    try:
        document = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise InvalidContentError(f"nesting deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise InvalidContentError(str(error)) from None
    if _deeper_than(document, MAX_DEPTH):
        raise InvalidContentError(f"nesting deeper than {MAX_DEPTH}")
    if "\\u" in text and _has_lone_surrogate(document):
        raise InvalidContentError("half of a surrogate pair is not a character")
    return document


def _has_lone_surrogate(document: Json) -> bool:
    try:
        compact(document).encode()
    except UnicodeEncodeError:
        return True
    return False


def _deeper_than(document: Json, limit: int) -> bool:
    level = [document]
    for _ in range(limit + 1):
        children: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        if not children:
            return False
        level = children
    return True


def compact(document: Json) -> str:
    """The compact JSON text: no spaces, non-ASCII characters as they are."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _sorted_keys(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted_keys(item) for item in value]
    return value


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def specification_version(pact: Json) -> Json | None:
    """The pact specification version as the document states it, or None."""
    metadata = pact.get("metadata") if isinstance(pact, dict) else None
    if not isinstance(metadata, dict):
        return None
    for key in ("pactSpecification", "pact-specification"):
        inner = metadata.get(key)
        if isinstance(inner, dict) and inner.get("version"):
            return inner["version"]
    return metadata.get("pactSpecificationVersion") or None


def content_sha(pact: Json) -> str:
    """SHA-1 (hex) of the part of a pact that decides a verification's outcome.

    That part is the interactions, the messages and the specification version. Order of keys and of interactions
    does not count, nor do names and other metadata.
    """
    if not isinstance(pact, dict):
        return _sha1(compact(pact))
    pact = _sort_document(pact)
    interactions, messages = pact.get("interactions"), pact.get("messages")
    if not isinstance(interactions, list) and not isinstance(messages, list):
        return _sha1(compact(pact))
    hashed: dict[str, Json] = {}
    if isinstance(interactions, list):
        hashed["interactions"] = interactions
    if isinstance(messages, list):
        hashed["messages"] = messages
    version = specification_version(pact)
    if version:
        hashed["pact_specification_version"] = version
    return _sha1(compact(hashed))


def _sort_document(pact: dict[str, Json]) -> dict[str, Json]:
    # Only one list is re-ordered: the interactions, or the messages where there are no interactions.
    key = next((name for name in ("interactions", "messages") if pact.get(name) is not None), None)
    if key is None:
        return pact
    ordered: dict[str, Json] = _sorted_keys(pact)
    if isinstance(ordered[key], list):
        ordered[key] = sorted(ordered[key], key=compact)
    return ordered


def with_interaction_ids(pact: Json) -> Json:
    """The pact with an ``_id`` in front of every interaction and message that has none.

    The id is the SHA-1 of the interaction itself, so it is stable across publications.
    """
    if not isinstance(pact, dict):
        return pact
    result = dict(pact)
    for key in ("interactions", "messages"):
        if isinstance(pact.get(key), list):
            result[key] = [_with_id(item) for item in pact[key]]
    return result


def _with_id(interaction: Json) -> Json:
    if not isinstance(interaction, dict):
        return interaction
    bare = {key: value for key, value in interaction.items() if key != "_id"}
    identifier = interaction["_id"] if "_id" in interaction else _sha1(compact(_sorted_keys(bare)))
    return {"_id": identifier, **bare} if "_id" not in interaction else interaction


def without_given_ids(pact: Json) -> Json:
    """The pact without those ids that `with_interaction_ids` put in."""
    if not isinstance(pact, dict):
        return pact
    result = dict(pact)
    for key in ("interactions", "messages"):
        if isinstance(pact.get(key), list):
            result[key] = [_without_given_id(item) for item in pact[key]]
    return result


def _without_given_id(interaction: Json) -> Json:
    if not isinstance(interaction, dict) or "_id" not in interaction:
        return interaction
    bare = {key: value for key, value in interaction.items() if key != "_id"}
    return bare if _with_id(bare)["_id"] == interaction["_id"] else interaction


def interactions_of(pact: Json) -> list[dict[str, Json]]:
    """All messages and interactions of a pact that are objects."""
    if not isinstance(pact, dict):
        return []
    found: list[dict[str, Json]] = []
    for key in ("messages", "interactions"):
        items = pact.get(key)
        if isinstance(items, list):
            found.extend(item for item in items if isinstance(item, dict))
    return found


def provider_states(pact: Json) -> list[tuple[str, Json | None]]:
    """Names and parameters of the provider states that a pact asks for, in document order."""
    states: list[tuple[str, Json | None]] = []
    for item in interactions_of(pact):
        if isinstance(item.get("providerState"), str):
            states.append((item["providerState"], None))
        elif isinstance(item.get("providerStates"), list):
            states.extend(
                (state["name"], state.get("params"))
                for state in item["providerStates"]
                if isinstance(state, dict) and isinstance(state.get("name"), str)
            )
    return states


def merge_pacts(original: Json, additional: Json) -> Json:
    """Add interactions to a pact; one with the same description and provider state is replaced."""
    merged = dict(original)
    interactions = list(original.get("interactions") or [])
    for new in additional.get("interactions") or []:
        position = next((i for i, old in enumerate(interactions) if _same_case(old, new)), None)
        if position is None:
            interactions.append(new)
        else:
            interactions[position] = new
    merged["interactions"] = interactions
    return merged


def merge_conflicts(original: Json, additional: Json) -> bool:
    """Whether the same description and state would stand for two different requests."""
    old_items, new_items = original.get("interactions"), additional.get("interactions")
    if old_items is None or new_items is None:
        return True
    return any(
        _same_case(old, new) and not _same_request(old.get("request"), new.get("request"))
        for new in new_items
        for old in old_items
    )


def _state_of(interaction: dict[str, Json]) -> Json:
    for key in ("provider_state", "providerState", "providerStates"):
        if interaction.get(key) is not None:
            return interaction[key]
    return None


def _same_case(one: dict[str, Json], other: dict[str, Json]) -> bool:
    return one.get("description") == other.get("description") and _state_of(one) == _state_of(other)


def _same_request(one: Json, other: Json) -> bool:
    one, other = one or {}, other or {}
    return all(one.get(key) == other.get(key) for key in ("method", "path", "query", "body", "headers"))
