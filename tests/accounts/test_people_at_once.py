"""People acting on the same organization at the same moment: the database decides, and always for one of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection

from accounts import invitations, keys, links, members, organizations, ownership, ownership_recovery
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Invitation, Membership, Organization, OwnershipOffer, User
from accounts.permissions import Role
from tests.conftest import person

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5
REFUSALS = (
    invitations.Ended,
    invitations.AlreadyThere,
    ownership.NotOffered,
    ownership.AlreadyOffered,
    ownership.NotTransferable,
    ownership_recovery.NotRecoverable,
    PermissionDenied,
)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Let each act run in a thread of its own, all starting together. Returns what they return, or raise as refusal."""
    start = Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        connection.ensure_connection()
        start.wait()
        try:
            return act()
        except REFUSALS as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


def refused(outcomes: list[object]) -> int:
    return sum(isinstance(outcome, REFUSALS) for outcome in outcomes)


def owners(organization: Organization) -> list[User]:
    return [each.user for each in organization.memberships.filter(role=Role.OWNER).select_related("user")]


def find(token: str) -> Invitation:
    return invitations.find(token)


@pytest.fixture
def token(organization: Organization, owner: User) -> str:
    invitation = invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(owner)
    )
    token, token_hash = links.new_token()
    Invitation.objects.filter(pk=invitation.pk).update(token_hash=token_hash)
    return token


def accepting(token: str, user: User) -> Callable[[], object]:
    found = find(token)
    return lambda: invitations.accept(invitation=found, user=user, other_address=True, actor=Actor(user))


def test_two_people_with_one_link_make_one_member(
    organization: Organization, outsider: User, token: str
) -> None:
    noor = person("Noor")

    outcomes = at_once(accepting(token, noor), accepting(token, outsider))

    assert refused(outcomes) == 1
    assert organization.memberships.exclude(role=Role.OWNER).count() == 1
    assert AuditEntry.objects.filter(action="invitation.accepted").count() == 1


def test_one_person_with_two_clicks_is_one_member(organization: Organization, token: str) -> None:
    noor = person("Noor")

    outcomes = at_once(*[accepting(token, noor) for _ in range(4)])

    assert refused(outcomes) == 0
    assert organization.memberships.filter(user=noor).count() == 1
    assert AuditEntry.objects.filter(action="invitation.accepted").count() == 1


def test_accepting_against_revoking_has_one_outcome(
    organization: Organization, owner: User, token: str
) -> None:
    noor = person("Noor")
    invitation = find(token)

    at_once(accepting(token, noor), lambda: invitations.revoke(invitation=invitation, actor=Actor(owner)))

    invitation.refresh_from_db()
    assert invitation.state in ("accepted", "revoked")
    assert organization.memberships.filter(user=noor).exists() == (invitation.state == "accepted")


def test_an_address_invited_by_two_has_one_invitation(
    organization: Organization, owner: User, admin: User
) -> None:
    def inviting(actor: User, email: str) -> Callable[[], object]:
        return lambda: invitations.invite(
            organization=organization, email=email, role=Role.MEMBER, actor=Actor(actor)
        )

    outcomes = at_once(inviting(owner, "noor@example.com"), inviting(admin, "Noor@example.com"))

    assert refused(outcomes) == 1
    assert Invitation.objects.count() == 1


def test_two_acceptances_of_ownership_make_one_owner(
    organization: Organization, owner: User, admin: User
) -> None:
    ownership.offer(organization=organization, to=admin, actor=Actor(owner))

    outcomes = at_once(
        *[lambda: ownership.accept(organization=organization, user=admin, actor=Actor(admin))] * 3
    )

    assert refused(outcomes) == 2
    assert owners(organization) == [admin]
    assert AuditEntry.objects.filter(action="ownership.transferred").count() == 1


def test_two_offers_at_once_leave_one(
    organization: Organization, owner: User, admin: User, member: User
) -> None:
    outcomes = at_once(
        *[
            lambda to=to: ownership.offer(organization=organization, to=to, actor=Actor(owner))
            for to in (admin, member)
        ]
    )

    assert refused(outcomes) == 1
    assert OwnershipOffer.objects.count() == 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_removing_against_accepting_ownership_keeps_one_owner(
    organization: Organization, owner: User, admin: User, number: int
) -> None:
    ownership.offer(organization=organization, to=admin, actor=Actor(owner))
    membership = Membership.objects.select_related("organization", "user").get(user=admin)

    outcomes = at_once(
        lambda: ownership.accept(organization=organization, user=admin, actor=Actor(admin)),
        lambda: members.remove(membership=membership, actor=Actor(owner)),
    )

    assert refused(outcomes) == 1
    was_removed = not organization.memberships.filter(user=admin).exists()
    assert owners(organization) == [owner if was_removed else admin]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_leaving_against_accepting_ownership_keeps_one_owner(
    organization: Organization, owner: User, admin: User, number: int
) -> None:
    ownership.offer(organization=organization, to=admin, actor=Actor(owner))
    membership = Membership.objects.select_related("organization", "user").get(user=admin)

    at_once(
        lambda: ownership.accept(organization=organization, user=admin, actor=Actor(admin)),
        lambda: members.leave(membership=membership, actor=Actor(admin)),
    )

    assert len(owners(organization)) == 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_deleting_against_accepting_ownership_keeps_one_owner(
    organization: Organization, owner: User, admin: User, number: int
) -> None:
    ownership.offer(organization=organization, to=admin, actor=Actor(owner))

    at_once(
        lambda: ownership.accept(organization=organization, user=admin, actor=Actor(admin)),
        lambda: organizations.delete(organization=organization, actor=Actor(owner)),
    )

    assert len(owners(organization)) == 1
    assert not OwnershipOffer.objects.exists()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_removals_and_a_revocation_wait_for_each_other(
    organization: Organization, owner: User, admin: User, member: User, number: int
) -> None:
    made = [
        keys.create_organization_key(organization=organization, name=str(each), actor=Actor(admin))[0]
        for each in range(3)
    ]
    membership = Membership.objects.select_related("organization", "user").get(user=admin)
    other = Membership.objects.select_related("organization", "user").get(user=member)

    outcomes = at_once(
        lambda: members.remove(membership=membership, actor=Actor(owner)),
        lambda: members.remove(membership=other, actor=Actor(owner)),
        lambda: keys.revoke(key=made[0], actor=Actor(owner)),
        lambda: keys.revoke(key=made[2], actor=Actor(owner)),
    )

    assert refused(outcomes) == 0
    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 3
    assert owners(organization) == [owner]


def test_two_of_the_staff_who_answer_two_letters_make_one_owner(
    organization: Organization, owner: User, admin: User, member: User, staff: User
) -> None:
    def give(to: User) -> Callable[[], object]:
        return lambda: ownership_recovery.recover(
            organization=organization,
            former_owner=owner,
            to=to,
            proof="A letter signed by the director",
            reason="The owner has left",
            owner_is_out=True,
            actor=Actor(staff),
        )

    outcomes = at_once(give(admin), give(member))

    assert refused(outcomes) == 1
    assert len(owners(organization)) == 1
    assert AuditEntry.objects.filter(action="ownership.recovered").count() == 1
