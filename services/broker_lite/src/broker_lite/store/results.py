"""Verification results."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, undefer

from broker_lite.domain.pending import Requirement, required_verifications
from broker_lite.store import deployments, pacts, versions
from broker_lite.store.models import (
    Branch,
    BranchVersion,
    DeployedVersion,
    Pacticipant,
    PactPublication,
    PactVersion,
    ReleasedVersion,
    Verification,
    Version,
)


def create(
    session: Session, publication: PactPublication, provider_version: Version, values: dict[str, Any]
) -> Verification:
    """Store a result; the last one for a content and provider version counts."""
    verification = Verification(pact_version=publication.pact_version, provider_version=provider_version, **values)
    session.add(verification)
    session.flush()
    return verification


def find(session: Session, consumer: str, provider: str, sha: str, number: int) -> Verification | None:
    """A result by its number, if it belongs to this content."""
    consumer_id = select(Pacticipant.id).where(Pacticipant.name == consumer).scalar_subquery()
    provider_id = select(Pacticipant.id).where(Pacticipant.name == provider).scalar_subquery()
    statement = (
        select(Verification)
        .join(PactVersion, PactVersion.id == Verification.pact_version_id)
        .where(
            Verification.id == number,
            PactVersion.sha == sha,
            PactVersion.consumer_id == consumer_id,
            PactVersion.provider_id == provider_id,
        )
        .options(undefer(Verification.test_results))
    )
    return session.scalars(statement).one_or_none()


def latest_of(session: Session, pact_version_ids: Sequence[int], *, tests: bool = True) -> dict[int, Verification]:
    """The latest result of each content; the tests' own results are loaded only on demand."""
    newest = select(func.max(Verification.id)).where(Verification.pact_version_id == PactVersion.id)
    ids = select(newest.correlate(PactVersion).scalar_subquery()).where(PactVersion.id.in_(pact_version_ids))
    statement = select(Verification).where(Verification.id.in_(ids))
    if tests:
        statement = statement.options(undefer(Verification.test_results))
    return {one.pact_version_id: one for one in session.scalars(statement)}


def latest_from_main_branch(session: Session, publication: PactPublication) -> Verification | None:
    """The latest result of a content by a version on the provider's main branch."""
    main_branch = publication.provider.main_branch
    if main_branch is None:
        return None
    branch = (
        select(Branch.id)
        .where(Branch.pacticipant_id == publication.provider_id, Branch.name == main_branch)
        .scalar_subquery()
    )
    on_branch = (
        select(BranchVersion.id)
        .where(BranchVersion.version_id == Verification.provider_version_id, BranchVersion.branch_id == branch)
        .exists()
    )
    statement = (
        select(Verification)
        .where(Verification.pact_version_id == publication.pact_version_id, on_branch)
        .order_by(Verification.id.desc())
        .limit(1)
    )
    return session.scalars(statement).one_or_none()


def latest_between(session: Session, consumer: str | None, provider: str | None) -> Verification | None:
    """The latest result between two; None stands for any."""
    statement = select(Verification).join(PactVersion, PactVersion.id == Verification.pact_version_id)
    for column, name in ((PactVersion.consumer_id, consumer), (PactVersion.provider_id, provider)):
        if name is not None:
            statement = statement.where(
                column == select(Pacticipant.id).where(Pacticipant.name == name).scalar_subquery()
            )
    return session.scalars(statement.order_by(Verification.id.desc()).limit(1)).one_or_none()


def any_between(session: Session, consumer_id: int, provider_id: int) -> bool:
    """Whether the provider ever verified a pact of the consumer."""
    statement = (
        select(Verification.id)
        .join(PactVersion, PactVersion.id == Verification.pact_version_id)
        .where(PactVersion.consumer_id == consumer_id, PactVersion.provider_id == provider_id)
        .limit(1)
    )
    return session.scalar(statement) is not None


def required(session: Session, publication: PactPublication) -> list[Requirement]:
    """Provider versions that ought to verify this pact and have not: main branch, deployed, released."""
    provider = publication.provider
    candidates: list[Requirement] = []
    if provider.main_branch is not None:
        head = versions.branch_head(session, provider.name, provider.main_branch) or versions.latest(
            session, provider.name, provider.main_branch
        )
        if head is not None:
            candidates.append(Requirement(head.id, head.number, provider.main_branch, ("latest from main branch",)))
    deployed = deployments.current_deployments(session, pacticipant_id=provider.id)
    released = deployments.supported_releases(session, pacticipant_id=provider.id)
    places: list[tuple[str, DeployedVersion | ReleasedVersion]] = [("deployed", one) for one in deployed]
    places += [("released", one) for one in released]
    facets = versions.facets(session, {one.version_id for _, one in places})
    for word, one in places:
        branches = facets[one.version_id].branches
        candidates.append(
            Requirement(
                one.version_id,
                one.version.number,
                branches[-1].name if branches else None,
                (f"{word} in {one.environment.name}",),
            )
        )
    verified = select(Verification.provider_version_id).where(
        Verification.pact_version_id == publication.pact_version_id,
        Verification.provider_version_id.in_([one.version_id for one in candidates]),
    )
    return required_verifications(candidates, set(session.scalars(verified)))


def of_consumer_version(
    session: Session, consumer: str, number: str
) -> tuple[list[PactPublication], list[Verification]]:
    """The pacts of a consumer version and the latest result of each that has one, by provider name."""
    version = versions.find(session, consumer, number)
    if version is None:
        return [], []
    publications = pacts.of_versions(session, [version.id])[version.id]
    latest = latest_of(session, [one.pact_version_id for one in publications])
    return publications, [latest[one.pact_version_id] for one in publications if one.pact_version_id in latest]


def with_pact(session: Session, verification: Verification) -> PactPublication | None:
    """The newest publication of the content that a result is about."""
    statement = (
        select(PactPublication)
        .where(PactPublication.pact_version_id == verification.pact_version_id)
        .order_by(PactPublication.current.desc(), PactPublication.consumer_version_id.desc())
        .options(joinedload(PactPublication.pact_version))
        .limit(1)
    )
    return session.scalars(statement).one_or_none()


def ever_verified(session: Session, pact_version_ids: Sequence[int]) -> set[int]:
    """Those contents that any provider version verified successfully."""
    success = select(Verification.id).where(Verification.pact_version_id == PactVersion.id, Verification.success)
    return set(session.scalars(select(PactVersion.id).where(PactVersion.id.in_(pact_version_ids), success.exists())))
