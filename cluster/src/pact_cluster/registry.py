"""Whether a container registry answers: asked once, remembered for some hours."""

import json
import time
from pathlib import Path

from pact_cluster.engine import Engine
from pact_cluster.report import Reporter
from pact_cluster.shell import base_environment, succeeds
from pact_cluster.workspace import Workspace

_REMEMBERED_SECONDS = 6 * 3600.0
_PATIENCE_SECONDS = 15.0


def remembered(text: str, image: str, now: float) -> bool | None:
    """The answer written down before, None if it is none, of another image or too old.

    Args:
        text: What `note` wrote.
        image: The image that is asked for.
        now: The time, in seconds since the epoch.
    """
    try:
        note = json.loads(text)
        fresh = note["image"] == image and 0 <= now - float(note["at"]) < _REMEMBERED_SECONDS
        return bool(note["answers"]) if fresh else None
    except (ValueError, KeyError, TypeError):
        return None


def note(image: str, *, answers: bool, now: float) -> str:
    """What to write down for `remembered`."""
    return json.dumps({"image": image, "answers": answers, "at": now})


def registry_answers(workspace: Workspace, engine: Engine, image: str, report: Reporter | None = None) -> bool:
    """Whether the engine can get an image: it has it, or the image's registry answers within seconds."""
    if engine.image_id(image):
        return True
    file = workspace.cache / "registry.json"
    known = remembered(file.read_text() if file.exists() else "", image, time.time())
    if known is not None:
        return known
    with (report or Reporter()).step("Asking whether a container registry answers") as step:
        answers = succeeds(
            ["docker", "manifest", "inspect", image],
            environment=base_environment() | engine.environment,
            timeout=_PATIENCE_SECONDS,
        )
        step.title += ": yes" if answers else ": no"
    _write(file, note(image, answers=answers, now=time.time()))
    return answers


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
