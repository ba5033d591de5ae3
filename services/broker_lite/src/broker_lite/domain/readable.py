"""A pact and the results of its tests as a person reads them: texts, cut where they would grow without bound.

Everything in them was written by somebody else. Nothing is assumed about shapes: what is not as the pact
specification (versions 1 to 4) has it is shown as JSON, or left out. A page that is made of this stays small however
large the pact is, and says where it was cut.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker_lite.domain import content

PER_PAGE = 50
"""Interactions, or tests, on one page."""
_LINE = 300
"""Characters of a description, a path, a header."""
_BODY = 8_000
"""Characters of one body."""
_BUDGET = 200_000
"""Characters of all bodies on a page."""
_FEW = 30
"""States, headers, mismatches and the like of one interaction."""

CUT = " … (cut)"
"""Ends every text that was cut."""


def visible(text: str) -> str:
    """A text in which no character hides: control characters and those that turn the direction are spelt out."""
    if text.isprintable():
        return text
    return "".join(one if one in "\n\t" or one.isprintable() else _spelt(one) for one in text)


def _spelt(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def cut(text: str, length: int = _LINE) -> str:
    """A text, or its beginning and a word that it was cut."""
    return text if len(text) <= length else text[:length] + CUT


@dataclass(frozen=True)
class Part:
    """A request, a response or a message.

    Attributes:
        title: what it is.
        line: method and path, or status; empty for messages.
        headers: names and values; of a message its metadata.
        body: the body as text, JSON indented; None if there is none.
        rules: matching rules as path and rule; how the values may differ.
    """

    title: str
    line: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: str | None = None
    rules: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Interaction:
    """One interaction or message of a pact."""

    identifier: str
    description: str
    states: Sequence[str]
    kind: str
    pending: bool
    parts: Sequence[Part]


@dataclass(frozen=True)
class Pact:
    """One page of a pact.

    Attributes:
        specification: version of the pact specification; empty if the pact does not say.
        tool: what wrote the pact, if it says.
        interactions: those on this page.
        total: number of all.
        page, pages: this page's number, from 1, and how many there are.
    """

    specification: str
    tool: str
    interactions: Sequence[Interaction]
    total: int
    page: int
    pages: int


@dataclass
class _Budget:
    left: int = _BUDGET

    def body(self, text: str) -> str:
        shown = cut(text, max(0, min(_BODY, self.left)))
        self.left -= len(shown)
        return shown


def pact(document: Any, page: int = 1) -> Pact:
    """One page of a pact; a page beyond the last is the last."""
    items = content.interactions_of(document)
    pages = max(1, -(-len(items) // PER_PAGE))
    page = min(max(page, 1), pages)
    budget = _Budget()
    shown = [_interaction(one, budget) for one in items[(page - 1) * PER_PAGE : page * PER_PAGE]]
    version = content.specification_version(document)
    return Pact(
        specification=cut(version, 20) if isinstance(version, str) else "",
        tool=_tool(document),
        interactions=shown,
        total=len(items),
        page=page,
        pages=pages,
    )


def raw(document: Any) -> str:
    """The beginning of a document that has no interactions to show."""
    return cut(json.dumps(document, indent=2, ensure_ascii=False), _BODY)


def _tool(document: Any) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    for key, value in metadata.items() if isinstance(metadata, dict) else ():
        if key in ("client", "pact-js", "pact-jvm", "pact-python", "pactRust", "pactNet", "pactGo"):
            versions = value.values() if isinstance(value, dict) else [value]
            return cut(" ".join([key, *(_flat(one) for one in versions)]), 100)
    return ""


def _flat(value: Any) -> str:
    """A value in one line: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else content.compact(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _interaction(item: Mapping[str, Any], budget: _Budget) -> Interaction:
    kind = item.get("type")
    kind = kind if isinstance(kind, str) else ("" if "request" in item else "Message")
    parts = list(_parts(item, budget))[:_FEW]
    return Interaction(
        identifier=cut(_flat(item.get("_id", "")), 64),
        description=cut(_flat(item.get("description", "")) or "(no description)"),
        states=[cut(one) for one in _states(item)][:_FEW],
        kind={"Synchronous/HTTP": ""}.get(kind, cut(kind, 40)),
        pending=item.get("pending") is True,
        parts=parts,
    )


def _states(item: Mapping[str, Any]) -> Iterator[str]:
    single = item.get("providerState", item.get("provider_state"))
    if isinstance(single, str) and single:
        yield single
    several = item.get("providerStates")
    for state in _list(several):
        if isinstance(state, dict) and isinstance(state.get("name"), str):
            parameters = state.get("params")
            yield state["name"] + (f" {content.compact(parameters)}" if parameters else "")
    if isinstance(several, str):
        yield several


def _parts(item: Mapping[str, Any], budget: _Budget) -> Iterator[Part]:
    request, response = item.get("request"), item.get("response")
    if isinstance(request, dict) and "contents" in request:
        yield _message("Request", request, budget)
        for one in _list(response):
            yield _message("Response", _dict(one), budget)
    elif isinstance(request, dict) or isinstance(response, dict):
        yield _request(_dict(request), budget)
        yield _response(_dict(response), budget)
    else:
        yield _message("Message", item, budget)


def _request(request: Mapping[str, Any], budget: _Budget) -> Part:
    query = _query(request.get("query"))
    line = f"{_flat(request.get('method', '?')).upper()} {_flat(request.get('path', '?'))}"
    return _part("Request", line + (f"?{query}" if query else ""), request, "headers", request.get("body"), budget)


def _response(response: Mapping[str, Any], budget: _Budget) -> Part:
    return _part("Response", _flat(response.get("status", "?")), response, "headers", response.get("body"), budget)


def _message(title: str, message: Mapping[str, Any], budget: _Budget) -> Part:
    metadata = "metadata" if "metadata" in message else "metaData"
    return _part(title, "", message, metadata, message.get("contents"), budget)


def _part(title: str, line: str, holder: Mapping[str, Any], headers: str, body: Any, budget: _Budget) -> Part:
    return Part(
        title=title,
        line=cut(line),
        headers=[(cut(name, 100), cut(_header(value))) for name, value in list(_dict(holder.get(headers)).items())][
            :_FEW
        ],
        body=_body(body, budget),
        rules=list(_rules(holder.get("matchingRules")))[:_FEW],
    )


def _header(value: Any) -> str:
    return ", ".join(_flat(one) for one in value) if isinstance(value, list) else _flat(value)


def _query(query: Any) -> str:
    if isinstance(query, dict):
        pairs = [
            (name, one) for name, values in query.items() for one in (values if isinstance(values, list) else [values])
        ]
        return "&".join(f"{name}={_flat(value)}" for name, value in pairs[:_FEW])
    return query if isinstance(query, str) else ""


def _body(body: Any, budget: _Budget) -> str | None:
    if isinstance(body, dict) and "content" in body and ("contentType" in body or "encoded" in body):
        # The form of version 4, which wraps a body together with its type.
        body = body["content"]
    if body is None or body == "":
        return None
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    return budget.body(text)


def _rules(rules: Any) -> Iterator[tuple[str, str]]:
    """Matching rules of all versions of the specification as (where, what)."""
    for where, rule in _dict(rules).items():
        if not isinstance(rule, dict):
            continue
        if "matchers" in rule:
            yield cut(where, 100), cut(_matchers(rule))
        elif where.startswith("$"):
            yield cut(where, 100), cut(_matcher(rule))
        else:
            for path, inner in rule.items():
                if isinstance(inner, dict) and "matchers" in inner:
                    name = path if where == "body" else f"{where} {path}"
                    yield cut(name, 100), cut(_matchers(inner))


def _matchers(rule: Mapping[str, Any]) -> str:
    joined = " or " if rule.get("combine") == "OR" else " and "
    return joined.join(_matcher(_dict(one)) for one in _list(rule.get("matchers")))


def _matcher(matcher: Mapping[str, Any]) -> str:
    kind = matcher.get("match", "regex" if "regex" in matcher else "type")
    rest = {key: value for key, value in matcher.items() if key != "match"}
    if set(rest) == {"regex"}:
        return f"regex {_flat(rest['regex'])}"
    return _flat(kind) + "".join(f", {key} {_flat(value)}" for key, value in rest.items())


@dataclass(frozen=True)
class Mismatch:
    """How an answer differed: what of it, where, and the verifier's words."""

    attribute: str
    where: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """The result of one interaction.

    Attributes:
        interaction: id of the interaction in the pact; empty if the verifier did not say.
        description: the interaction's, from the pact or from the verifier.
        success: whether it passed; None if the verifier did not say.
        mismatches: how the answer differed.
        errors: what went wrong beside mismatches.
        more: number of mismatches and errors that are not shown.
    """

    interaction: str
    description: str
    success: bool | None
    mismatches: Sequence[Mismatch] = ()
    errors: Sequence[str] = ()
    more: int = 0


@dataclass(frozen=True)
class Outcomes:
    """One page of the results of a verification, failures first.

    Attributes:
        tests: those on this page.
        passed, failed: numbers of all.
        page, pages: this page's number, from 1, and how many there are.
        by_interaction: all tests by the id of their interaction.
    """

    tests: Sequence[Outcome] = ()
    passed: int = 0
    failed: int = 0
    page: int = 1
    pages: int = 1
    by_interaction: Mapping[str, Outcome] = field(default_factory=dict)


def outcomes(results: Any, document: Any, page: int = 1) -> Outcomes:
    """One page of the tests that a verifier reported for a pact."""
    descriptions = {
        _flat(one["_id"]): _flat(one.get("description", ""))
        for one in content.interactions_of(document)
        if "_id" in one
    }
    items = [one for one in _list(results) if isinstance(one, dict)]
    found = [_test(one, descriptions) for one in sorted(items, key=lambda one: one.get("success") is not False)]
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(page, 1), pages)
    return Outcomes(
        tests=found[(page - 1) * PER_PAGE : page * PER_PAGE],
        passed=sum(one.success is True for one in found),
        failed=sum(one.success is False for one in found),
        page=page,
        pages=pages,
        by_interaction={one.interaction: one for one in reversed(found) if one.interaction},
    )


def _test(item: Mapping[str, Any], descriptions: Mapping[str, str]) -> Outcome:
    identifier = _flat(item.get("interactionId", ""))
    told = descriptions.get(identifier) or _flat(
        item.get("interactionDescription") or item.get("testDescription") or ""
    )
    mismatches = [_mismatch(one) for one in _list(item.get("mismatches")) if isinstance(one, dict)]
    errors = [
        _flat(one.get("message") or one) if isinstance(one, dict) else _flat(one)
        for one in _list(item.get("exceptions"))
    ]
    success = item.get("success")
    return Outcome(
        interaction=cut(identifier, 64),
        description=cut(told or "(an interaction that this pact does not name)"),
        success=success if isinstance(success, bool) else None,
        mismatches=mismatches[:_FEW],
        errors=[cut(one, 1_000) for one in errors[:_FEW]],
        more=max(0, len(mismatches) - _FEW) + max(0, len(errors) - _FEW),
    )


def _mismatch(item: Mapping[str, Any]) -> Mismatch:
    def text(*keys: str) -> str:
        return next((_flat(item[key]) for key in keys if item.get(key) not in (None, "")), "")

    return Mismatch(
        cut(text("attribute"), 60),
        cut(text("identifier", "path", "parameter"), 200),
        cut(text("description", "mismatch"), 1_000),
    )
