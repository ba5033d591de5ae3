"""The documentation says what is: generated pages are current, and what it names exists."""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pact_operator.api import names
from pact_operator.api.crds import KINDS
from pact_operator.api.reasons import ADVICE, Actor, Reason
from pact_operator.api.v1alpha1 import Object
from pactctl.app import app
from pactctl.exits import Exit

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PARTS = sorted(
    path for top in ("charts", "services", "jobs", "libs", "cluster") for path in (ROOT / top).glob("**/README.md")
)
PAGES = [*OURS, *PARTS]
GENERATED = {ROOT / "docs/reference/api.md", ROOT / "docs/reference/reasons.md"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+\s+(.+)$", re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in HEADING.findall(prose(page))
    }


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_generated_pages_are_current() -> None:
    stale = [str(path.relative_to(ROOT)) for path in generator().stale()]
    assert not stale, f"out of date, run `make docs`: {stale}"


@pages
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pages
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|&& |; )make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= targets()


@pages
def test_paths_exist(page: Path) -> None:
    """What looks like a path of the repository, in code or in a command, is one."""
    tops = "charts|services|jobs|libs|cluster|tests|docs|skaffold"
    found = re.findall(rf"(?<![\w./-])((?:{tops})(?:/[\w.{{}},-]+)+)", page.read_text(encoding="utf-8"))
    words = {word.rstrip(".,") for word in found}
    # A part's own README may speak of the part's own folders.
    missing = {
        word for word in words if "{" not in word and not (list(ROOT.glob(word)) or list(page.parent.glob(word)))
    }
    assert not missing


@pages
def test_objects_in_yaml_are_accepted_by_the_models(page: Path) -> None:
    for text in blocks(page, "yaml"):
        for body in yaml.safe_load_all(text):
            if isinstance(body, dict) and body.get("apiVersion") == names.API_VERSION:
                model: type[Object] = KINDS[body["kind"]][0]
                parsed = model.parse(body)
                assert not isinstance(parsed, str), f"{body['kind']}: {parsed}"


@pages
def test_shell_blocks_are_shell(page: Path) -> None:
    for text in blocks(page, "sh", "bash"):
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_the_runbook_tells_of_every_reason_that_somebody_may_be_paged_for() -> None:
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    quiet = {reason for reason, advice in ADVICE.items() if advice.actor is Actor.NONE} | {Reason.REGISTERING}
    assert [str(reason) for reason in Reason if reason not in quiet and f"`{reason}`" not in text] == []


def words_in_code() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for code in CODE.findall(prose(page)):
            yield page, code


def test_labels_page_tells_of_every_name_of_ours() -> None:
    text = (ROOT / "docs/reference/labels.md").read_text(encoding="utf-8")
    ours: list[Any] = [
        value for name, value in vars(names).items() if name.startswith(("LABEL_", "ANNOTATION_", "FINALIZER_"))
    ]
    assert ours
    assert [name for name in ours if f"`{name}`" not in text] == []


def test_names_of_our_group_in_the_text_exist() -> None:
    known = {value for value in vars(names).values() if isinstance(value, str)}
    known |= {f"{plural}.{names.GROUP}" for plural in names.PLURALS.values()} | {f"{names.GROUP}/{names.VERSION}"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        used = set(re.findall(rf"(?<![\w.]){re.escape(names.GROUP)}/[a-z0-9-]+(?:/v\d)?", text))
        assert used <= known, page


@pytest.mark.parametrize(("job", "prefix"), [("verifier", "PV"), ("publisher", "PP"), ("gate", "GATE")])
def test_jobs_page_tells_of_every_variable(job: str, prefix: str) -> None:
    sources = (ROOT / "jobs" / job / "src").rglob("*.py")
    read = {name for path in sources for name in re.findall(rf'"({prefix}_[A-Z_]+)"', path.read_text(encoding="utf-8"))}
    text = (ROOT / "docs/reference/jobs.md").read_text(encoding="utf-8")
    told = set(re.findall(rf"`({prefix}_[A-Z_]+)`", text))
    assert read
    assert told == read


def test_pactctl_page_tells_of_every_command_and_exit_code() -> None:
    text = (ROOT / "docs/reference/pactctl.md").read_text(encoding="utf-8")
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name for name in commands if f"`pactctl {name}" not in text} == set()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert told == {int(code) for code in Exit}


def test_metrics_in_the_runbook_exist() -> None:
    source = (ROOT / "services/operator/src/pact_operator/metrics.py").read_text(encoding="utf-8")
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(pact_operator_\w+)", text))
    assert told
    made = set(re.findall(r'"(pact_operator_\w+)"', source))
    assert {name.removesuffix("_total") for name in told} <= {name.removesuffix("_total") for name in made}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if "://" not in link and target.suffix == ".md" and target.exists():
                waiting.append(target)
    assert [str(page.relative_to(ROOT)) for page in OURS if page not in reached] == []
