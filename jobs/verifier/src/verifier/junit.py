"""The JUnit report: a suite per pact, a case per interaction, as CI systems read it. Pure.

There is no standard; the elements are those that the usual readers share (`testsuites`, `testsuite`, `testcase` with
`failure`, `error` or `skipped`, `properties`).
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from brokerclient.text import clean, clean_block
from verifier.outcome import InteractionFailure, PactFacts, PactOutcome, Verdict
from verifier.report import failure_lines

_NAME = 1000
_DETAIL = 20_000
_DETAILS = 8 * 1024 * 1024
"""Characters of details in all: a report of thousands of failures keeps their summaries, and can still be opened."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class _Room:
    left: int = _DETAILS

    def take(self, text: str) -> str:
        text = text if len(text) <= self.left else ""
        self.left -= len(text)
        return text


def junit_xml(verdict: Verdict) -> bytes:
    """Write a verdict as JUnit XML.

    An interaction that failed is a `failure`; one that failed and is pending, or whose pact is, is `skipped`, since it
    breaks nothing. A pact that was not verified, and a result that the broker does not hold, is an `error`.

    Returns:
        UTF-8. Whatever the pacts and the provider say, it is well-formed.
    """
    root = ET.Element("testsuites", name=_text(f"{verdict.provider} {verdict.provider_version}"))
    root.set("time", f"{max(0.0, verdict.duration):.3f}")
    room = _Room()
    for pact in verdict.pacts:
        _suite(root, verdict, pact, room)
    if not verdict.pacts and verdict.exit_code not in (0, 2):
        suite = ET.SubElement(root, "testsuite", name=_text(verdict.provider))
        _case(suite, verdict, "", "verification", "error", verdict.reason.value, verdict.message)
        _count(suite)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _suite(root: ET.Element, verdict: Verdict, pact: PactFacts, room: _Room) -> None:
    suite = ET.SubElement(root, "testsuite", name=_text(pact.consumer))
    properties = ET.SubElement(suite, "properties")
    recorded = {None: "not asked for", True: "yes", False: "no"}[pact.recorded]
    for name, value in (
        ("consumer", pact.consumer),
        ("provider", verdict.provider),
        ("providerVersion", verdict.provider_version),
        ("contentSha", pact.content_sha),
        ("outcome", pact.outcome.value),
        ("recorded", recorded),
    ):
        ET.SubElement(properties, "property", name=name, value=_text(value))
    if pact.problem is not None:
        _case(suite, verdict, pact.consumer, "verification", "error", pact.problem.reason.value, pact.problem.message)
    for description, failure in _interactions(pact):
        if failure is None:
            _case(suite, verdict, pact.consumer, description)
            continue
        pending = failure.pending or pact.outcome is PactOutcome.PENDING_FAILED
        kind, note = ("skipped", "failed, and pending: ") if pending else ("failure", "")
        detail = room.take("\n".join(clean_block(line, _DETAIL) for line in failure_lines(failure)))
        _case(suite, verdict, pact.consumer, description, kind, "ContractBroken", note + failure.summary, detail)
    if pact.record_problem:
        name = "the broker holds the result"
        _case(suite, verdict, pact.consumer, name, "error", "ResultNotPublished", pact.record_problem)
    _count(suite)


def _interactions(pact: PactFacts) -> Iterator[tuple[str, InteractionFailure | None]]:
    """Every interaction with its failure; descriptions may be alike, and only failures tell how they went."""
    if pact.problem is not None:
        return
    failed = Counter(failure.description for failure in pact.failures)
    for failure in pact.failures:
        yield failure.description, failure
    for description in pact.descriptions:
        shown = clean(description or "an interaction without description", 200)
        if failed[shown] > 0:
            failed[shown] -= 1
        else:
            yield shown, None


def _case(
    suite: ET.Element,
    verdict: Verdict,
    consumer: str,
    name: str,
    kind: str = "",
    type_: str = "",
    message: str = "",
    detail: str = "",
) -> None:
    classname = ".".join(part for part in (verdict.provider, consumer) if part)
    case = ET.SubElement(suite, "testcase", classname=_text(classname), name=_text(name))
    if kind:
        told = ET.SubElement(case, kind, message=_text(message))
        if kind != "skipped":
            told.set("type", type_)
        told.text = _NOT_XML.sub("", detail) or None


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for key, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{kind}"))))


def _text(value: str) -> str:
    return _NOT_XML.sub("", clean(value, _NAME))
