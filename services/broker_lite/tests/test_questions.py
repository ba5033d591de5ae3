"""What the store finds by index is what a plain look at all rows finds: random histories against slow, simple rules."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker_lite.domain.matrix import Options, Selector
from broker_lite.domain.selectors import Kind
from broker_lite.domain.selectors import Selector as ConsumerSelector
from broker_lite.store import matrix, selection
from broker_lite.store.engine import Store
from broker_lite.store.models import (
    Branch,
    BranchVersion,
    Pacticipant,
    PactPublication,
    PactVersion,
    Tag,
    Verification,
    Version,
    now,
)

START = now() - timedelta(days=40)


def _history(session: Session, seed: int) -> None:
    """A consumer and a provider with a few contents, many versions, branches, tags and results, in any order."""
    chance = random.Random(seed)

    def moment() -> datetime:
        return START + timedelta(hours=chance.randrange(39 * 24))

    def at() -> dict[str, datetime]:
        moment_ = moment()
        return {"created_at": moment_, "updated_at": moment_}

    session.add_all(Pacticipant(id=one, name=name, main_branch="main", **at()) for one, name in ((1, "C"), (2, "P")))
    session.flush()
    versions = {owner: [owner * 100 + number for number in range(12)] for owner in (1, 2)}
    for owner, ids in versions.items():
        session.add_all(Version(id=one, pacticipant_id=owner, number=str(one), **at()) for one in ids)
    session.flush()
    for number, (owner, name) in enumerate([(1, "main"), (1, "x"), (2, "main"), (2, "x"), (2, "y")], 1):
        session.add(Branch(id=number, pacticipant_id=owner, name=name, **at()))
        session.flush()
        members = chance.sample(versions[owner], chance.randrange(6))
        session.add_all(BranchVersion(branch_id=number, version_id=one, **at()) for one in members)
    for owner, ids in versions.items():
        for name in ("a", "b"):
            tagged = chance.sample(ids, chance.randrange(5))
            session.add_all(Tag(version_id=one, pacticipant_id=owner, name=name, **at()) for one in tagged)
    session.add_all(
        PactVersion(id=one, consumer_id=1, provider_id=2, sha=str(one) * 40, content="{}") for one in range(1, 5)
    )
    session.flush()
    for one in versions[1]:
        content = chance.randrange(1, 5)
        session.add(
            PactPublication(
                consumer_version_id=one, consumer_id=1, provider_id=2, pact_version_id=content, revision_number=1,
                created_at=moment(),
            )
        )  # fmt: skip
    moments = sorted(moment() for _ in range(chance.randrange(30)))
    for moment_ in moments:
        session.add(
            Verification(
                pact_version_id=chance.randrange(1, 5), provider_version_id=chance.choice(versions[2]),
                success=chance.random() < 0.6, wip=chance.random() < 0.2, created_at=moment_,
            )
        )  # fmt: skip
        session.flush()


def _rows_plainly(session: Session, latestby: str | None, limit: int) -> list[tuple[Any, ...]]:
    """The matrix of two: every pact with every result (or the last per content and version), the newest first."""
    results = session.scalars(select(Verification)).all()
    if latestby:
        last = {
            (one.pact_version_id, one.provider_version_id): one.id for one in sorted(results, key=lambda one: one.id)
        }
        results = [one for one in results if one.id in last.values()]
    rows: list[tuple[Any, ...]] = []
    for pact in session.scalars(select(PactPublication)):
        own = [one for one in results if one.pact_version_id == pact.pact_version_id]
        rows += [(one.created_at, pact.id, one.id) for one in own] or [(pact.created_at, pact.id, 0)]
    return sorted(rows, reverse=True)[:limit]


@pytest.mark.parametrize("limit", [3, 20, 1_000])
@pytest.mark.parametrize("latestby", [None, "cvpv"])
def test_the_newest_rows_of_a_matrix(store: Store, latestby: str | None, limit: int) -> None:
    for seed in range(3):
        with Session(store.engine) as session:
            _history(session, seed)
            options = Options(latestby=latestby, limit=limit)
            found = matrix.find(session, [Selector("C"), Selector("P")], options).considered
            rows = [
                (one.verified_at or one.pact_created_at, one.publication_id, one.verification_id or 0) for one in found
            ]
            assert sorted(rows, reverse=True) == _rows_plainly(session, latestby, limit), seed
            session.rollback()


def _waits_plainly(results: Sequence[tuple[datetime, set[str]]], own: str, began: datetime | None) -> bool:
    """Pending by branch or tag, from all successes: when, and on which branches (or with which tags)."""
    return not any(own in names or (names - {own} and (began is None or at < began)) for at, names in results)


@pytest.mark.parametrize("few", [0, 100])
def test_what_is_pending_and_what_is_work_in_progress(store: Store, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Long branches are asked about in another way than short ones: both ways, on the same histories.
    monkeypatch.setattr(selection, "_FEW", few)
    for seed in range(6):
        with Session(store.engine) as session:
            _history(session, seed)
            for own in ("main", "y", "gone"):
                _compare_branch(session, own, seed)
            _compare_tags(session, seed)
            session.rollback()


def _successes(session: Session, content: int, names: dict[int, set[str]]) -> list[tuple[datetime, set[str], bool]]:
    statement = select(Verification).where(Verification.pact_version_id == content, Verification.success)
    return [(one.created_at, names.get(one.provider_version_id, set()), one.wip) for one in session.scalars(statement)]


def _compare_branch(session: Session, own: str, seed: int) -> None:
    names: dict[int, set[str]] = {}
    members = select(BranchVersion.version_id, Branch.name).join(Branch, Branch.id == BranchVersion.branch_id)
    for version_id, name in session.execute(members):
        names.setdefault(version_id, set()).add(name)
    branch = session.scalars(select(Branch).where(Branch.pacticipant_id == 2, Branch.name == own)).one_or_none()
    first = None
    if branch is not None:
        statement = select(BranchVersion).where(BranchVersion.branch_id == branch.id).order_by(BranchVersion.id)
        member = session.scalars(statement).first()
        first = member.version.created_at if member is not None else None
    provider = session.get_one(Pacticipant, 2)
    query = selection.Query([ConsumerSelector(Kind.LATEST)], provider_branch=own, wip_since=START - timedelta(days=1))
    found = selection.for_verification(session, provider, query)
    for candidate, shown in found:
        results = _successes(session, candidate.pact_version_id, names)
        if shown.wip:
            counted = [(at, on) for at, on, wip in results if not wip and at >= now() - selection.LOOK_BACK]
            assert _waits_plainly(counted, own, first), (seed, own, candidate.pact_version_id)
        else:
            began = branch.created_at if branch is not None else None
            plain = _waits_plainly([(at, on) for at, on, _ in results], own, began)
            assert shown.pending is plain, (seed, own, candidate.pact_version_id)


def _compare_tags(session: Session, seed: int) -> None:
    names: dict[int, set[str]] = {}
    began: dict[str, datetime] = {}
    for tag in session.scalars(select(Tag).where(Tag.pacticipant_id == 2)):
        names.setdefault(tag.version_id, set()).add(tag.name)
        began[tag.name] = min(tag.created_at, began.get(tag.name, tag.created_at))
    query = selection.Query([ConsumerSelector(Kind.LATEST)], provider_tags=["a", "gone"])
    for candidate, shown in selection.for_verification(session, session.get_one(Pacticipant, 2), query):
        results = [(at, on) for at, on, _ in _successes(session, candidate.pact_version_id, names)]
        plain = tuple(own for own in ("a", "gone") if _waits_plainly(results, own, began.get(own)))
        assert shown.pending_tags == plain, seed
