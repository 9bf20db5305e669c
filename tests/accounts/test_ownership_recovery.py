"""An organization whose owner is gone gets a new one, with proof."""

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import audit, keys, organizations, ownership, ownership_recovery, personal_data, team
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import AuditEntry, Membership, Note, Notification, Organization, User
from accounts.ownership_recovery import AROUND, NotRecoverable, OwnerIsAround, recover
from accounts.permissions import Role
from tests.conftest import colleague, sign_in_verified

PROOF = "Letter on paper of the company, signed by its director"


@pytest.fixture
def owner_is_gone(owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False, last_login=timezone.now())


def give(
    organization: Organization,
    to: User,
    staff: User,
    *,
    owner_is_out: bool = False,
    remove_former: bool = False,
    former_owner: User | None = None,
) -> None:
    former = organization.memberships.select_related("user").get(role=Role.OWNER)
    recover(
        organization=organization,
        former_owner=former_owner or former.user,
        to=to,
        proof=PROOF,
        reason="The owner has died",
        actor=Actor(staff),
        owner_is_out=owner_is_out,
        remove_former=remove_former,
    )


def roles(organization: Organization) -> dict[str, str]:
    return dict(organization.memberships.values_list("user__name", "role"))


def act(client: Client, organization: Organization, **said: object) -> str:
    url = reverse("admin:accounts_organization_recover", args=[organization.pk])
    owner = organization.memberships.select_related("user").get(role=Role.OWNER).user
    return client.post(url, {"_form_submitted": "True", "owner": owner.uid, **said}).content.decode()


@pytest.mark.usefixtures("owner_is_gone")
def test_a_member_becomes_the_owner_and_the_former_one_an_admin(
    organization: Organization, member: User, staff: User
) -> None:
    before = Organization.objects.get().access_version

    give(organization, member, staff)

    assert roles(organization) == {"Olivia": Role.ADMIN, "Mia": Role.OWNER}
    note = Note.objects.get(organization=organization)
    assert (note.kind, note.text) == (Note.Kind.IDENTITY_CHECK, PROOF)
    entry = AuditEntry.objects.get(action=audit.Action.OWNERSHIP_RECOVERED)
    assert entry.before == {"owner": "olivia@example.com"}
    assert entry.after == {"owner": member.email, "reason": "The owner has died", "proof": note.uid}
    assert entry.by_staff
    assert Organization.objects.get().access_version > before


@pytest.mark.usefixtures("owner_is_gone")
def test_the_former_owner_can_be_removed_with_the_keys_they_made(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    _, secret = keys.create_organization_key(organization=organization, name="theirs", actor=Actor(owner))

    give(organization, member, staff, remove_former=True)

    assert roles(organization) == {"Mia": Role.OWNER}
    assert usable_key(secret) is None


@pytest.mark.usefixtures("owner_is_gone")
def test_all_who_manage_the_team_are_told_why(
    organization: Organization, owner: User, admin: User, member: User, viewer: User, staff: User
) -> None:
    give(organization, member, staff)

    told = Notification.objects.filter(title="Mia now owns Northwind")
    assert {each.user for each in told} == {owner, admin, member}
    assert "The owner has died" in told[0].body


def test_an_owner_who_was_here_lately_keeps_the_organization(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    owner.last_login = timezone.now() - AROUND + timedelta(hours=1)
    owner.save()

    with pytest.raises(OwnerIsAround):
        give(organization, member, staff)

    assert roles(organization) == {"Olivia": Role.OWNER, "Mia": Role.MEMBER}


def test_an_owner_who_has_left_the_company_by_proof_does_not(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    owner.last_login = timezone.now()
    owner.save()

    give(organization, member, staff, owner_is_out=True)

    assert roles(organization)["Mia"] == Role.OWNER


def test_an_owner_who_has_not_been_here_for_long_is_gone(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    owner.last_login = timezone.now() - AROUND - timedelta(hours=1)
    owner.save()

    give(organization, member, staff)

    assert roles(organization)["Mia"] == Role.OWNER


def test_use_of_a_session_counts_as_being_here(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    Membership.objects.filter(user=owner).update(last_active_at=timezone.now())

    with pytest.raises(OwnerIsAround):
        give(organization, member, staff)


@pytest.mark.usefixtures("owner_is_gone")
def test_only_members_become_owners(
    organization: Organization, owner: User, outsider: User, staff: User
) -> None:
    for person in (outsider, owner):
        with pytest.raises(NotRecoverable):
            give(organization, person, staff)


@pytest.mark.usefixtures("owner_is_gone")
def test_nobody_who_is_switched_off_becomes_the_owner(
    organization: Organization, member: User, staff: User
) -> None:
    User.objects.filter(pk=member.pk).update(is_active=False)

    with pytest.raises(NotRecoverable):
        give(organization, member, staff)


def test_an_open_offer_ends(organization: Organization, owner: User, admin: User, staff: User) -> None:
    ownership.offer(organization=organization, to=admin, actor=Actor(owner))
    User.objects.filter(pk=owner.pk).update(is_active=False)

    give(organization, admin, staff)

    assert ownership.pending(organization) is None


def test_a_deleted_organization_whose_owner_has_left_is_recovered_and_restored(
    organization: Organization, owner: User, member: User, staff: User
) -> None:
    organizations.delete(organization=organization, actor=Actor(owner))
    personal_data.delete_account(user=owner, actor=Actor(owner))
    with pytest.raises(organizations.NoOwner):
        organizations.restore(organization=organization, actor=Actor(staff))

    give(organization, member, staff)
    organizations.restore(organization=organization, actor=Actor(staff), reason="Asked by Mia")

    assert roles(organization) == {"Mia": Role.OWNER}
    entry = AuditEntry.objects.get(action=audit.Action.ORGANIZATION_RESTORED)
    assert entry.after == {"state": "active", "reason": "Asked by Mia"}


def test_an_erased_organization_is_not_recovered(
    organization: Organization, member: User, staff: User
) -> None:
    Organization.objects.update(deleted_at=timezone.now(), erased_at=timezone.now())

    with pytest.raises(PermissionDenied):
        give(organization, member, staff)


@pytest.mark.usefixtures("owner_is_gone")
def test_support_gives_a_new_owner_on_the_organizations_page(
    back_office: Client, organization: Organization, member: User
) -> None:
    membership = Membership.objects.get(user=member)

    act(
        back_office,
        organization,
        member=membership.pk,
        former="admin",
        proof=PROOF,
        reason="The owner has died",
    )

    assert roles(organization)["Mia"] == Role.OWNER


@pytest.mark.usefixtures("owner_is_gone")
@pytest.mark.parametrize("left_out", ["member", "proof", "reason"])
def test_nothing_is_given_without_a_member_proof_and_reason(
    back_office: Client, organization: Organization, member: User, left_out: str
) -> None:
    said = {
        "member": Membership.objects.get(user=member).pk,
        "former": "admin",
        "proof": PROOF,
        "reason": "The owner has died",
    }
    del said[left_out]

    act(back_office, organization, **said)

    assert roles(organization)["Olivia"] == Role.OWNER


def test_support_reads_that_the_owner_was_here_lately(
    back_office: Client, organization: Organization, owner: User, member: User
) -> None:
    owner.last_login = timezone.now()
    owner.save()
    membership = Membership.objects.get(user=member)

    page = act(
        back_office, organization, member=membership.pk, former="admin", proof=PROOF, reason="Asked by Mia"
    )

    assert "was here in the last 30 days" in page
    assert roles(organization)["Olivia"] == Role.OWNER


@pytest.mark.usefixtures("owner_is_gone")
def test_it_takes_the_permission(organization: Organization, member: User, client: Client) -> None:
    sign_in_verified(client, colleague("Sam", "Support"))

    act(client, organization, member=Membership.objects.get(user=member).pk, former="admin", proof=PROOF)

    assert roles(organization)["Olivia"] == Role.OWNER


@pytest.mark.usefixtures("owner_is_gone")
def test_nobody_makes_themselves_the_owner(organization: Organization, client: Client) -> None:
    ada = colleague("Ada", "Administrator")
    own = team.add_member(organization=organization, user=ada, role=Role.ADMIN, actor=None)
    sign_in_verified(client, ada)

    act(client, organization, member=own.pk, former="admin", proof=PROOF, reason="I run it")
    with pytest.raises(NotRecoverable):
        give(organization, ada, ada)

    assert roles(organization)["Olivia"] == Role.OWNER


def test_proof_about_one_owner_does_not_count_against_the_next(
    back_office: Client, organization: Organization, owner: User, admin: User, member: User, staff: User
) -> None:
    """Two of the staff answer two letters: the second page was opened before the first was done."""
    said = {"former": "admin", "proof": PROOF, "reason": "The owner has left", "owner_is_out": "on"}
    give(organization, admin, staff, owner_is_out=True)

    page = act(
        back_office, organization, owner=owner.uid, member=Membership.objects.get(user=member).pk, **said
    )
    with pytest.raises(NotRecoverable):
        give(organization, member, staff, former_owner=owner, owner_is_out=True)

    assert "Its owner has changed meanwhile" in page
    assert roles(organization) == {"Olivia": Role.ADMIN, "Adam": Role.OWNER, "Mia": Role.MEMBER}


@pytest.mark.parametrize("why", [NotRecoverable, OwnerIsAround])
def test_what_changes_while_it_is_given_is_told(
    back_office: Client,
    organization: Organization,
    member: User,
    why: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def changed(**_: object) -> None:
        raise why

    monkeypatch.setattr(ownership_recovery, "recover", changed)
    membership = Membership.objects.get(user=member)

    act(back_office, organization, member=membership.pk, former="admin", proof=PROOF, reason="Asked by Mia")

    page = back_office.get(reverse("admin:accounts_organization_change", args=[organization.pk]))
    assert "has changed meanwhile. Look again." in page.content.decode()
