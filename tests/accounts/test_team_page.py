"""The team's pages: who sees what, and what each button does."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import invitations, keys, ownership, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Invitation, Organization, OwnershipOffer, User
from accounts.permissions import Permission, Role
from tests.conftest import person


@pytest.fixture
def team(organization: Organization) -> str:
    return f"/o/{organization.uid}/team/"


@pytest.fixture
def invitation(organization: Organization, owner: User) -> Invitation:
    return invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(owner)
    )


def of_member(team: str, user: User, act: str = "") -> str:
    return f"{team}members/{user.uid}/{act}"


def test_the_list_shows_role_second_factor_and_when_they_were_here(
    client: Client, team: str, owner: User, member: User, viewer: User, organization: Organization
) -> None:
    two_factor.enrol_totp(user=member, actor=None)
    organization.memberships.filter(user=member).update(last_active_at=timezone.now())
    client.force_login(owner)

    rows = {row["membership"].user: row for row in client.get(team).context["rows"]}

    assert rows[member]["membership"].has_two_factor
    assert not rows[viewer]["membership"].has_two_factor
    assert rows[member]["membership"].last_active_at
    assert rows[owner]["is_me"]


@pytest.mark.parametrize(
    ("reader", "changeable"),
    [
        ("owner", {"admin", "member", "viewer"}),
        ("admin", {"admin", "member", "viewer"}),
        ("member", set()),
        ("viewer", set()),
    ],
)
def test_actions_are_offered_to_those_who_have_them(
    client: Client,
    team: str,
    owner: User,
    admin: User,
    member: User,
    viewer: User,
    invitation: Invitation,
    reader: str,
    changeable: set[str],
    request: pytest.FixtureRequest,
) -> None:
    client.force_login(request.getfixturevalue(reader))

    response = client.get(team)

    offered = {row["membership"].role for row in response.context["rows"] if row["may_change"]}
    page = response.content.decode()
    assert offered == changeable
    assert "noor@example.com" in page
    assert ("/resend/" in page) == bool(changeable)
    assert ("Invite people" in page) == bool(changeable)
    assert (f"{team}transfer/" in page) == (reader == "owner")


def test_queries_do_not_grow_with_members(
    client: Client, team: str, owner: User, organization: Organization
) -> None:
    client.force_login(owner)
    client.get(team)
    with CaptureQueriesContext(connection) as few:
        client.get(team)
    for number in range(50):
        organization.memberships.create(user=person(f"Person{number}"), role=Role.MEMBER)
        Invitation.objects.create(
            organization=organization,
            email=f"guest{number}@example.com",
            token_hash=str(number),
            invited_by=owner,
            expires_at=timezone.now(),
        )

    with CaptureQueriesContext(connection) as many:
        page = client.get(team).content.decode()

    assert "person49@example.com" in page
    assert len(many) <= len(few) + 1


def test_long_lists_have_pages(
    client: Client, team: str, owner: User, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.views.team.MEMBERS_A_PAGE", 1)
    client.force_login(owner)

    pages = [client.get(team, {"page": page}) for page in ("1", "2", "99", "\0", "x")]

    assert [page.context["rows"][0]["membership"].user for page in pages] == [
        member,
        owner,
        owner,
        member,
        member,
    ]


def test_the_roles_are_explained_by_the_table(client: Client, team: str, viewer: User) -> None:
    client.force_login(viewer)

    page = client.get(team).content.decode()

    assert all(str(permission.label).replace("'", "&#x27;") in page for permission in Permission)


def test_several_are_invited_at_once(
    client: Client, team: str, admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    client.force_login(admin)

    with django_capture_on_commit_callbacks(execute=True):
        response = client.post(
            f"{team}invite/", {"emails": "a@example.com, B@example.com\na@example.com", "role": "viewer"}
        )

    assert response.status_code == 302
    assert set(Invitation.objects.values_list("email", "role")) == {
        ("a@example.com", "viewer"),
        ("b@example.com", "viewer"),
    }


@pytest.mark.parametrize(
    ("emails", "role", "field"),
    [
        ("", "member", "emails"),
        (" , ;", "member", "emails"),
        ("noor", "member", "emails"),
        ("noor@exаmple.com", "member", "emails"),
        ("\u212aim@example.com", "member", "emails"),  # the sign for kelvin, a small k in lower case
        ("nul\0@example.com", "member", "emails"),
        ("good@example.com, mia@example.com", "member", "emails"),
        (" ".join(f"p{number}@example.com" for number in range(21)), "member", "emails"),
        ("x" * 300 + "@example.com", "member", "emails"),
        ("noor@example.com", "", "role"),
        ("noor@example.com", "owner", "role"),
        ("noor@example.com", "king", "role"),
    ],
)
def test_bad_invitations_are_explained_and_invite_nobody(
    client: Client, team: str, owner: User, member: User, emails: str, role: str, field: str
) -> None:
    client.force_login(owner)

    response = client.post(f"{team}invite/", {"emails": emails, "role": role})

    assert response.status_code == 400
    assert field in response.context["form"].errors
    assert not Invitation.objects.exists()


def test_invitations_that_nobody_answers_do_not_pile_up_on_the_page(
    client: Client, team: str, owner: User, invitation: Invitation, organization: Organization
) -> None:
    last_week = timezone.now() - timedelta(days=7)
    Invitation.objects.bulk_create(
        Invitation(
            organization=organization,
            email=f"{number}@example.com",
            token_hash=str(number),
            created_at=timezone.now(),
            expires_at=last_week,
        )
        for number in range(invitations.MOST_OPEN + 100)
    )
    client.force_login(owner)

    shown = client.get(team).context["open_invitations"]

    assert len(shown) == invitations.MOST_OPEN + 50
    assert shown[0] == invitation


def test_an_invitation_is_sent_again_and_revoked(
    client: Client, team: str, owner: User, invitation: Invitation
) -> None:
    client.force_login(owner)
    address = f"{team}invitations/{invitation.uid}/"

    sent_again = client.post(f"{address}resend/", follow=True)
    asked = client.get(f"{address}revoke/")
    revoked = client.post(f"{address}revoke/", follow=True)
    late = client.post(f"{address}resend/", follow=True)

    assert sent_again.status_code == 200
    assert b"no longer works" in asked.content
    assert b"is revoked" in revoked.content
    assert b"has ended meanwhile" in late.content


def test_invitations_of_others_are_not_found(
    client: Client, team: str, owner: User, other_organization: Organization, outsider: User
) -> None:
    foreign = invitations.invite(
        organization=other_organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(outsider)
    )
    client.force_login(owner)

    for act in ("resend", "revoke"):
        assert client.post(f"{team}invitations/{foreign.uid}/{act}/").status_code == 404
    foreign.refresh_from_db()
    assert foreign.state == "pending"


def test_a_role_is_changed(client: Client, team: str, owner: User, member: User) -> None:
    client.force_login(owner)

    response = client.post(of_member(team, member), {"role": "admin"}, follow=True)

    assert b"The role of Mia is admin now." in response.content


@pytest.mark.parametrize("role", ["", "owner", "king", "\0"])
def test_a_bad_role_is_explained(client: Client, team: str, owner: User, member: User, role: str) -> None:
    client.force_login(owner)

    response = client.post(of_member(team, member), {"role": role})

    assert response.status_code == 400
    assert "role" in response.context["form"].errors
    assert member.memberships.get().role == Role.MEMBER


def test_the_owner_is_out_of_an_admins_reach(client: Client, team: str, owner: User, admin: User) -> None:
    client.force_login(admin)

    page = client.get(of_member(team, owner))
    answers = [
        client.post(of_member(team, owner), {"role": "viewer"}),
        client.get(of_member(team, owner, "remove/")),
        client.post(of_member(team, owner, "remove/")),
    ]

    assert b'name="role"' not in page.content
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert owner.memberships.get().role == Role.OWNER


def test_members_of_others_are_not_found(
    client: Client, team: str, owner: User, other_organization: Organization, outsider: User
) -> None:
    client.force_login(owner)

    assert client.post(of_member(team, outsider), {"role": "viewer"}).status_code == 404
    assert client.post(of_member(team, outsider, "remove/")).status_code == 404


def test_removing_says_first_what_stops_and_then_holds_at_once(
    client: Client, team: str, owner: User, admin: User, organization: Organization
) -> None:
    keys.create_organization_key(organization=organization, name="checkout", actor=Actor(admin))
    theirs = Client()
    theirs.force_login(admin)
    client.force_login(owner)

    asked = client.get(of_member(team, admin, "remove/"))
    before = theirs.get(team).status_code
    client.post(of_member(team, admin, "remove/"))

    assert b"1 API key will stop" in asked.content
    assert b"checkout" in asked.content
    assert (before, theirs.get(team).status_code) == (200, 404)
    assert ApiKey.objects.get().state == "revoked"


def test_removing_oneself_is_leaving(client: Client, team: str, admin: User) -> None:
    client.force_login(admin)

    response = client.post(of_member(team, admin, "remove/"))

    assert response["Location"] == f"{team}leave/"
    assert admin.memberships.exists()


def test_a_member_leaves(client: Client, team: str, viewer: User) -> None:
    client.force_login(viewer)

    asked = client.get(f"{team}leave/")
    client.post(f"{team}leave/")

    assert b"No API key will stop" in asked.content
    assert not viewer.memberships.exists()


def test_an_owner_is_told_to_hand_over_first(client: Client, team: str, owner: User) -> None:
    client.force_login(owner)

    for response, status in ((client.get(f"{team}leave/"), 200), (client.post(f"{team}leave/"), 409)):
        assert response.status_code == status
        assert b"hand it over first" in response.content
    assert owner.memberships.exists()


def test_an_organization_is_handed_over(
    client: Client, team: str, owner: User, member: User, organization: Organization
) -> None:
    theirs = Client()
    theirs.force_login(member)
    client.force_login(owner)

    client.post(f"{team}transfer/", {"member": member.uid})
    banners = client.get(team).content, theirs.get(team).content
    asked = theirs.get(f"{team}transfer/accept/")
    theirs.post(f"{team}transfer/accept/")

    assert b"You offered the organization to Mia" in banners[0]
    assert b"Accept or decline" in banners[1]
    assert b"Become the owner of Northwind?" in asked.content
    assert dict(organization.memberships.values_list("user__name", "role")) == {
        "Olivia": "admin",
        "Mia": "owner",
    }


@pytest.mark.parametrize("choice", ["", "usr_unknown", "\0", "me"])
def test_a_bad_choice_of_owner_is_explained(
    client: Client, team: str, owner: User, member: User, choice: str
) -> None:
    client.force_login(owner)

    response = client.post(f"{team}transfer/", {"member": owner.uid if choice == "me" else choice})

    assert response.status_code == 400
    assert "member" in response.context["form"].errors
    assert not OwnershipOffer.objects.exists()


def test_without_an_offer_there_is_nothing_to_accept(
    client: Client, team: str, owner: User, admin: User
) -> None:
    client.force_login(admin)

    answers = [client.get(f"{team}transfer/accept/"), client.post(f"{team}transfer/accept/")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert b"no offer for you" in answers[0].content
    assert owner.memberships.get().role == Role.OWNER


def test_an_offer_is_declined(
    client: Client, team: str, owner: User, member: User, admin: User, organization: Organization
) -> None:
    ownership.offer(organization=organization, to=member, actor=Actor(owner))
    client.force_login(admin)
    by_another = client.post(f"{team}transfer/cancel/")
    client.force_login(member)
    client.post(f"{team}transfer/cancel/")

    assert by_another.status_code == 403
    assert not OwnershipOffer.objects.exists()
