"""What a pact document says, read tolerantly over specification versions 1 to 4. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<quote>['\"])(?P<quoted>.*?)(?P=quote)\]|\[(?P<index>\d+|\*)\]")
_EXAMPLE = 120
_V4_BODY = {"content", "contentType", "contentTypeHint", "encoded"}
_LIKE = {
    "integer": "an integer",
    "decimal": "a decimal number",
    "number": "a number",
    "boolean": "a boolean",
    "date": "a date",
    "time": "a time",
    "timestamp": "a date-time",
    "datetime": "a date-time",
    "semver": "a semantic version",
}


class NotAPactError(ValueError):
    """The document is not a pact; the message is one sentence that says what is wrong."""


@dataclass(frozen=True, slots=True)
class State:
    """A provider state that an interaction needs."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interaction:
    """One interaction or message.

    Attributes:
        id: The broker's `_id`, empty if there is none.
        is_message: Asks the message endpoint instead of the API.
    """

    id: str
    description: str
    states: tuple[State, ...]
    is_message: bool
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pact:
    """A pact document and what is asked of it."""

    consumer: str
    provider: str
    interactions: tuple[Interaction, ...]
    publish_url: str | None
    plugins: tuple[str, ...] = ()

    @property
    def has_messages(self) -> bool:
        """Whether the message endpoint is needed."""
        return any(item.is_message for item in self.interactions)

    def states(self) -> Iterator[State]:
        """All provider states, in order."""
        for item in self.interactions:
            yield from item.states

    def find(self, interaction_id: str | None, description: str) -> Interaction | None:
        """The interaction that a result speaks of."""
        by_id = (item for item in self.interactions if interaction_id and item.id == interaction_id)
        by_description = (item for item in self.interactions if item.description == description)
        return next(by_id, None) or next(by_description, None)


def parse_pact(document: Mapping[str, Any]) -> Pact:
    """Read a pact.

    Raises:
        NotAPactError: It names no consumer or provider, or has no list of interactions or messages.
    """
    names = []
    for role in ("consumer", "provider"):
        name = document.get(role, {}).get("name") if isinstance(document.get(role), Mapping) else None
        if not isinstance(name, str) or not name:
            raise NotAPactError(f"it does not name its {role}")
        names.append(name)
    lists = [document[key] for key in ("interactions", "messages") if key in document]
    if not lists or not all(isinstance(items, list) for items in lists):
        raise NotAPactError("it has no list of interactions or messages")
    items = [item for group in lists for item in group]
    if not all(isinstance(item, Mapping) for item in items):
        raise NotAPactError("one of its interactions is not an object")
    messages = len(document.get("messages", ()))
    first_message = len(items) - messages
    links = document.get("_links")
    link = links.get("pb:publish-verification-results") if isinstance(links, Mapping) else None
    href = link.get("href") if isinstance(link, Mapping) else None
    return Pact(
        consumer=names[0],
        provider=names[1],
        interactions=tuple(_interaction(item, index >= first_message) for index, item in enumerate(items)),
        publish_url=href if isinstance(href, str) else None,
        plugins=_plugins(document.get("metadata")),
    )


def _plugins(metadata: Any) -> tuple[str, ...]:
    listed = metadata.get("plugins") if isinstance(metadata, Mapping) else None
    items = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    return tuple(str(item.get("name", "")) for item in items)


def _interaction(item: Mapping[str, Any], in_messages: bool) -> Interaction:
    return Interaction(
        id=str(item.get("_id") or ""),
        description=str(item.get("description", "")),
        states=_states(item),
        is_message=in_messages or "Messages" in str(item.get("type", "")),
        document=item,
    )


def _states(item: Mapping[str, Any]) -> tuple[State, ...]:
    found = item.get("providerStates")
    if isinstance(found, list):
        return tuple(
            State(str(state["name"]), state["params"] if isinstance(state.get("params"), Mapping) else {})
            for state in found
            if isinstance(state, Mapping) and state.get("name")
        )
    single = item.get("providerState") or item.get("provider_state")
    return (State(str(single), {}),) if single else ()


# -- what the pact expects at a place, in words


def expectation(interaction: Interaction | None, path: str) -> str | None:
    """Say what the pact expects at a path of the body, e.g. `a string like "Ada"`.

    Args:
        interaction: The interaction; None knows nothing.
        path: As the verifier core writes it: `$.items[0].id`.

    Returns:
        None if the path is not found in the example.
    """
    if interaction is None:
        return None
    part = _answer_part(interaction.document)
    found, example = _lookup(_body(part), _tokens(path))
    if not found:
        return None
    shown = short_json(example)
    matcher = _matcher(part, path)
    kind = str(matcher.get("match", "equality")) if matcher else "equality"
    if kind == "regex" and matcher:
        return f"text that matches {matcher.get('regex')!s}, like {shown}"
    if kind in {"type", "min-type", "max-type", "minMaxType"} or (matcher and {"min", "max"} & set(matcher)):
        return f"{_type_name(example)} like {shown}"
    return f"{_LIKE[kind]} like {shown}" if kind in _LIKE else shown


def short_json(value: Any) -> str:
    """JSON of a value, cut to a length that a sentence can bear."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _EXAMPLE else text[: _EXAMPLE - 3] + "..."


def child(path: str, key: str) -> str:
    """Path of a key below a path."""
    return f"{path}.{key}" if re.fullmatch(r"[A-Za-z_][\w-]*", key) else f"{path}['{key}']"


def _answer_part(document: Mapping[str, Any]) -> Mapping[str, Any]:
    response = document.get("response")
    if isinstance(response, list):
        response = response[0] if response else None
    return response if isinstance(response, Mapping) else document


def _body(part: Mapping[str, Any]) -> Any:
    body = part.get("body", part.get("contents"))
    if isinstance(body, Mapping) and "content" in body and set(body) <= _V4_BODY:
        return body["content"]
    return body


def _tokens(path: str) -> list[str]:
    return [match["name"] or match["quoted"] or match["index"] or "" for match in _TOKEN.finditer(path)]


def _lookup(value: Any, tokens: Sequence[str]) -> tuple[bool, Any]:
    for token in tokens:
        if isinstance(value, Mapping) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdigit() and value:
            # A matcher for each element has one example that stands for all.
            value = value[min(int(token), len(value) - 1)]
        else:
            return False, None
    return True, value


def _matcher(part: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    rules = part.get("matchingRules")
    if not isinstance(rules, Mapping):
        return None
    wanted = _tokens(path)
    body = rules.get("body")
    if isinstance(body, Mapping):
        flat = body
        skip = 0
    else:
        flat = {key: rule for key, rule in rules.items() if str(key).startswith("$.body")}
        skip = 1
    best: tuple[int, Mapping[str, Any]] | None = None
    for key, rule in flat.items():
        tokens = _tokens(str(key))[skip:]
        if len(tokens) > len(wanted) or not all(a in {"*", b} for a, b in zip(tokens, wanted, strict=False)):
            continue
        matchers = rule.get("matchers") if isinstance(rule, Mapping) else None
        matcher = matchers[0] if isinstance(matchers, list) and matchers else rule
        # A matcher reaches below its own place only if it is about types (specification, "cascading").
        exact = len(tokens) == len(wanted)
        if isinstance(matcher, Mapping) and (exact or matcher.get("match") == "type"):
            score = 2 * len(tokens) + exact
            if best is None or score > best[0]:
                best = (score, matcher)
    return best[1] if best else None


def _type_name(example: Any) -> str:
    names: list[tuple[type, str]] = [
        (bool, "a boolean"),
        (str, "a string"),
        (int, "a number"),
        (float, "a number"),
        (list, "an array"),
        (dict, "an object"),
    ]
    return next((name for kind, name in names if isinstance(example, kind)), "null")
