"""Recorded exchanges of the reference broker, replayed and compared.

What differs between any two runs is learned from the answers and substituted: ids, result numbers, link metadata and
hosts must correspond one to one throughout; times are masked.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data"
TRANSCRIPTS = DATA / "transcripts"
_BROKER = "http://BROKER"
_RECEIVER = "127.0.0.1:9595"
_LEFT_OUT = {"(same index resource as in 01)", "(body omitted)"}
_IGNORED = ("updatedAt", "content-length")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|\+00:00)")
_HTTP_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_DAY = re.compile(r"\b\d\d/\d\d/\d{4}\b")
_UNSTABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # uuids
    r"|(?<=/verification-results/)\d+"
    r"|(?<=Verification result )\d+"
    r"|(?<=verification result )\d+"
    r"|(?<=/webhooks/)[A-Za-z0-9_\-]{22}(?![A-Za-z0-9_\-])"
    r"|(?<=Webhook )[A-Za-z0-9_\-]{22}(?= triggered)"
    r"|(?<=reference )[A-Za-z0-9_\-]{8,}"
)


# What a link's metadata holds is the broker's own affair: compared is only where there is any. The latest one seen for
# a content is what a client would follow.
_METADATA = re.compile(r"(?P<content>/pact-version/[0-9a-f]{40})/metadata/[A-Za-z0-9_\-]+")


@dataclass
class Exchange:
    """One recorded exchange."""

    file: str
    index: int
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.file}#{self.index}"

    @property
    def title(self) -> str:
        return f"{self.request['method']} {self.request['path']}"


def load(name: str) -> list[Exchange]:
    """The exchanges of one file."""
    text = (TRANSCRIPTS / name).read_text()
    document = json.loads(text.replace("http://127.0.0.1:9293", _BROKER))
    short = name[:2]
    return [Exchange(short, index, one["request"], one["response"]) for index, one in enumerate(document["exchanges"])]


def files() -> list[str]:
    """Names of the files of exchanges, in the order of recording."""
    return sorted(path.name for path in TRANSCRIPTS.glob("[0-9]*.json"))


@dataclass
class Correspondence:
    """Which of our values stands for which recorded one."""

    ours: str
    receiver: str
    known: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    index: Any = None

    def to_ours(self, text: str) -> str:
        """A recorded text as we would write it."""
        text = text.replace(_BROKER, self.ours).replace(_RECEIVER, self.receiver)
        text = _METADATA.sub(lambda match: self.metadata.get(match[0], match[0]), text)
        return _UNSTABLE.sub(lambda match: self.known.get(match[0], match[0]), text)

    def request(self, value: Any) -> Any:
        """A recorded request body as we would get it."""
        if isinstance(value, str):
            return self.to_ours(value)
        if isinstance(value, list):
            return [self.request(one) for one in value]
        if isinstance(value, dict):
            return {key: self.request(one) for key, one in value.items()}
        return value

    def learn(self, recorded: str, got: str) -> None:
        """Let ids in two texts of the same form correspond."""
        ours = got.replace(self.ours, _BROKER).replace(self.receiver, _RECEIVER)
        if _shape(recorded) != _shape(ours):
            return
        for seen, own in zip(_METADATA.finditer(recorded), _METADATA.finditer(ours), strict=True):
            self.metadata[seen[0]] = own[0]
        for one, other in zip(_UNSTABLE.findall(recorded), _UNSTABLE.findall(ours), strict=True):
            self.known.setdefault(one, other)

    def differences(self, recorded: Any, got: Any, where: str = "$") -> list[str]:
        """How an answer differs from the recorded one, in words; empty if it does not."""
        if isinstance(recorded, dict) and recorded.keys() & _LEFT_OUT:
            recorded = self.index
        if isinstance(recorded, dict) and isinstance(got, dict):
            return self._objects(recorded, got, where)
        if isinstance(recorded, list) and isinstance(got, list):
            if len(recorded) != len(got):
                return [f"{where}: {len(recorded)} items recorded, {len(got)} got"]
            pairs = enumerate(zip(recorded, got, strict=True))
            return [text for i, (one, other) in pairs for text in self.differences(one, other, f"{where}[{i}]")]
        if isinstance(recorded, str) and isinstance(got, str):
            return self._texts(recorded, got, where)
        return (
            [] if recorded == got and type(recorded) is type(got) else [f"{where}: recorded {recorded!r}, got {got!r}"]
        )

    def _objects(self, recorded: dict[str, Any], got: dict[str, Any], where: str) -> list[str]:
        # Whether a time of update is shown depends on which second it fell into; the length of a webhook's body
        # depends on the length of link metadata.
        left = {key: value for key, value in recorded.items() if key not in _IGNORED}
        right = {key: value for key, value in got.items() if key not in _IGNORED}
        found = [f"{where}.{key}: recorded, not got" for key in left if key not in right]
        found += [f"{where}.{key}: got, not recorded" for key in right if key not in left]
        for key, value in left.items():
            if key in right:
                found += self.differences(value, right[key], f"{where}.{key}")
        return found

    def _texts(self, recorded: str, got: str, where: str) -> list[str]:
        if where.endswith(".uuid") and len(recorded) == 22:
            self.known.setdefault(recorded, got)
            return [] if self.known[recorded] == got else [f"{where}: another id than before"]
        if where.endswith(".error.reference"):
            return [] if got else [f"{where}: nothing to find the error by in the log"]
        self.learn(recorded, got)
        expected = _masked(self.to_ours(recorded))
        shown = _masked(got)
        return [] if expected == shown else [f"{where}: recorded {expected!r}, got {shown!r}"]


def _shape(text: str) -> str:
    return _masked(_UNSTABLE.sub("*", text))


def _masked(text: str) -> str:
    text = _METADATA.sub(r"\g<content>/metadata/<metadata>", _TIME.sub("<time>", text))
    text = re.sub(r"(?<=content-length: )\d+", "<length>", text)
    return _DAY.sub("<day>", _HTTP_DATE.sub("<date>", text))
