"""Members, invitations and ownership in the API."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts import invitations, keys, ownership
from accounts.audit import Actor
from accounts.models import Invitation, Organization, OwnershipOffer, User
from accounts.permissions import Role

MEMBERS, INVITATIONS = "/api/v1/members", "/api/v1/invitations"


def caller(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def program(organization: Organization, maker: User, scopes: list[str]) -> Client:
    """A program with an organization key of this maker's."""
    _, secret = keys.create_organization_key(
        organization=organization, name="people", actor=Actor(maker), scopes=scopes
    )
    return caller(secret)


def send(client: Client, method: str, address: str, body: object = None) -> Any:
    text = "" if body is None else json.dumps(body)
    return client.generic(method, address, text, content_type="application/json")


@pytest.fixture
def api(organization: Organization, owner: User) -> Client:
    return program(organization, owner, ["team", "ownership"])


@pytest.fixture
def invitation(organization: Organization, owner: User) -> Invitation:
    return invitations.invite(
        organization=organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(owner)
    )


def test_members_are_listed_newest_first_in_pages(
    api: Client, owner: User, member: User, viewer: User
) -> None:
    first = api.get(MEMBERS, {"limit": 2}).json()
    rest = api.get(MEMBERS, {"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [each["id"] for each in first["data"]] == [viewer.uid, member.uid]
    assert [each["id"] for each in rest["data"]] == [owner.uid]
    assert rest["next_cursor"] is None
    assert first["data"][1].keys() == {
        "id",
        "name",
        "email",
        "role",
        "two_factor",
        "joined_at",
        "last_active_at",
    }
    assert first["data"][1]["joined_at"].endswith("Z")


@pytest.mark.parametrize("address", [MEMBERS, INVITATIONS])
@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"cursor": "x"}])
def test_a_bad_page_is_refused(api: Client, address: str, query: dict[str, str]) -> None:
    response = api.get(address, query)

    assert response.status_code == 400
    assert response.json()["error"]["param"] in query


def test_a_role_is_changed(api: Client, member: User) -> None:
    response = send(api, "PATCH", f"{MEMBERS}/{member.uid}", {"role": "admin"})

    assert response.status_code == 200
    assert response.json()["role"] == "admin"
    assert member.memberships.get().role == Role.ADMIN


@pytest.mark.parametrize("body", [{}, {"role": "king"}, {"role": None}, {"role": ["admin"]}, {"role": "\0"}])
def test_a_bad_role_is_named(api: Client, member: User, body: object) -> None:
    response = send(api, "PATCH", f"{MEMBERS}/{member.uid}", body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "role"


@pytest.mark.parametrize("body", [[], "x", 1])
def test_a_body_that_is_no_object_is_refused(api: Client, member: User, body: object) -> None:
    assert send(api, "PATCH", f"{MEMBERS}/{member.uid}", body).status_code == 400
    assert send(api, "POST", INVITATIONS, body).status_code == 400


def test_the_owners_role_is_neither_given_nor_taken(api: Client, owner: User, member: User) -> None:
    given = send(api, "PATCH", f"{MEMBERS}/{member.uid}", {"role": "owner"})
    taken = send(api, "PATCH", f"{MEMBERS}/{owner.uid}", {"role": "admin"})
    removed = api.delete(f"{MEMBERS}/{owner.uid}")

    assert [each.status_code for each in (given, taken, removed)] == [403, 403, 403]
    assert "hands the organization over" in given.json()["error"]["message"]


def test_a_member_is_removed_with_their_keys(api: Client, organization: Organization, admin: User) -> None:
    theirs = program(organization, admin, ["team"])

    response = api.delete(f"{MEMBERS}/{admin.uid}")

    assert response.status_code == 204
    assert theirs.get(MEMBERS).status_code == 401
    assert api.delete(f"{MEMBERS}/{admin.uid}").status_code == 404


def test_a_key_does_no_more_than_its_maker(
    organization: Organization, owner: User, admin: User, viewer: User
) -> None:
    of_admin = program(organization, admin, ["team", "ownership"])
    of_viewer = program(organization, viewer, ["team", "ownership"])

    assert send(of_admin, "POST", INVITATIONS, {"email": "a@example.com", "role": "admin"}).status_code == 201
    assert of_admin.delete(f"{MEMBERS}/{owner.uid}").status_code == 403
    assert of_viewer.get(MEMBERS).status_code == 200
    assert (
        send(of_viewer, "POST", INVITATIONS, {"email": "b@example.com", "role": "viewer"}).status_code == 403
    )


def test_a_key_without_the_scope_sees_nobody(organization: Organization, owner: User) -> None:
    assert program(organization, owner, ["usage"]).get(MEMBERS).status_code == 403


def test_somebody_is_invited(api: Client, owner: User) -> None:
    response = send(api, "POST", INVITATIONS, {"email": "Noor@example.com", "role": "viewer"})

    answer = response.json()
    assert response.status_code == 201
    assert (answer["email"], answer["role"], answer["state"]) == ("noor@example.com", "viewer", "pending")
    assert answer["invited_by"]["id"] == owner.uid
    assert api.get(INVITATIONS).json()["data"] == [answer]
    assert "token" not in response.content.decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "viewer"}, "email"),
        ({"email": "noor", "role": "viewer"}, "email"),
        ({"email": "n\0@example.com", "role": "viewer"}, "email"),
        ({"email": "nооr@example.com", "role": "viewer"}, "email"),
        ({"email": "x" * 300, "role": "viewer"}, "email"),
        ({"email": ["noor@example.com"], "role": "viewer"}, "email"),
        ({"email": "noor@example.com"}, "role"),
        ({"email": "noor@example.com", "role": "owner"}, "role"),
    ],
)
def test_a_bad_invitation_names_its_field(api: Client, body: object, field: str) -> None:
    response = send(api, "POST", INVITATIONS, body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert not Invitation.objects.exists()


@pytest.mark.parametrize("email", ["noor@example.com", "olivia@example.com"])
def test_who_is_there_or_invited_is_a_conflict(api: Client, invitation: Invitation, email: str) -> None:
    response = send(api, "POST", INVITATIONS, {"email": email, "role": "viewer"})

    assert response.status_code == 409
    assert response.json()["error"]["type"] == "conflict"
    assert response.json()["error"]["param"] == "email"


def test_too_many_letters_are_429(
    api: Client, invitation: Invitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_LETTERS_A_DAY", 1)

    answers = [
        send(api, "POST", INVITATIONS, {"email": "nils@example.com", "role": "viewer"}),
        send(api, "POST", f"{INVITATIONS}/{invitation.uid}/resend"),
    ]

    assert [each.status_code for each in answers] == [429, 429]


def test_an_invitation_is_sent_again_and_revoked(api: Client, invitation: Invitation) -> None:
    address = f"{INVITATIONS}/{invitation.uid}"

    answers = [
        send(api, "POST", f"{address}/resend"),
        api.delete(address),
        api.delete(address),
        send(api, "POST", f"{address}/resend"),
    ]

    assert [each.status_code for each in answers] == [200, 204, 409, 409]
    assert "revoked" in answers[2].json()["error"]["message"]


def test_what_belongs_to_others_is_not_found(
    api: Client, other_organization: Organization, outsider: User
) -> None:
    foreign = invitations.invite(
        organization=other_organization, email="noor@example.com", role=Role.MEMBER, actor=Actor(outsider)
    )

    answers = [
        send(api, "PATCH", f"{MEMBERS}/{outsider.uid}", {"role": "viewer"}),
        api.delete(f"{MEMBERS}/{outsider.uid}"),
        api.delete(f"{INVITATIONS}/{foreign.uid}"),
        send(api, "POST", f"{INVITATIONS}/{foreign.uid}/resend"),
        api.get(f"/api/v1/organizations/{other_organization.uid}/transfer"),
        send(api, "POST", f"/api/v1/organizations/{other_organization.uid}/transfer", {"member_id": "x"}),
    ]

    assert {each.status_code for each in answers} == {404}


@pytest.fixture
def transfer(organization: Organization) -> str:
    return f"/api/v1/organizations/{organization.uid}/transfer"


@pytest.fixture
def of_member(organization: Organization, member: User) -> Client:
    _, secret = keys.create_personal_key(
        user=member, organization=organization, name="laptop", scopes=["team"]
    )
    return caller(secret)


def test_an_organization_is_handed_over(
    api: Client, of_member: Client, transfer: str, organization: Organization, owner: User, member: User
) -> None:
    offered = send(api, "POST", transfer, {"member_id": member.uid})
    pending = of_member.get(transfer)
    accepted = send(of_member, "POST", f"{transfer}/accept")

    assert offered.status_code == 201
    assert offered.json()["to"]["id"] == member.uid
    assert pending.json() == offered.json()
    assert accepted.status_code == 200
    assert accepted.json()["role"] == "owner"
    assert owner.memberships.get().role == Role.ADMIN
    assert of_member.get(transfer).status_code == 404


def test_a_session_accepts_too(
    client: Client, transfer: str, organization: Organization, owner: User, member: User
) -> None:
    ownership.offer(organization=organization, to=member, actor=Actor(owner))
    client.force_login(member)

    assert client.post(f"{transfer}/accept").status_code == 200


def test_an_offer_is_cancelled_or_declined(
    api: Client, of_member: Client, transfer: str, member: User
) -> None:
    send(api, "POST", transfer, {"member_id": member.uid})
    cancelled = api.delete(transfer)
    send(api, "POST", transfer, {"member_id": member.uid})
    declined = of_member.delete(f"{transfer}/accept")

    assert (cancelled.status_code, declined.status_code) == (204, 204)
    assert api.delete(transfer).status_code == 404
    assert not OwnershipOffer.objects.exists()


@pytest.mark.parametrize("member_id", ["", "usr_unknown", "\0", ["x"], None, "x" * 50, "the owner"])
def test_a_bad_heir_is_named(api: Client, transfer: str, owner: User, member_id: object) -> None:
    body = {"member_id": owner.uid if member_id == "the owner" else member_id}

    response = send(api, "POST", transfer, body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "member_id"


def test_a_second_offer_is_a_conflict(api: Client, transfer: str, member: User, admin: User) -> None:
    send(api, "POST", transfer, {"member_id": member.uid})

    assert send(api, "POST", transfer, {"member_id": admin.uid}).status_code == 409


def test_only_whom_it_is_meant_for_accepts(
    client: Client, api: Client, transfer: str, organization: Organization, member: User, admin: User
) -> None:
    send(api, "POST", transfer, {"member_id": member.uid})
    client.force_login(admin)

    assert client.post(f"{transfer}/accept").status_code == 404
    assert client.delete(f"{transfer}/accept").status_code == 403
    assert api.post(f"{transfer}/accept").status_code == 403  # no person
    assert client.post(transfer, {"member_id": admin.uid}, "application/json").status_code == 403


def test_a_key_for_something_else_does_not_accept(
    transfer: str, organization: Organization, owner: User, member: User
) -> None:
    ownership.offer(organization=organization, to=member, actor=Actor(owner))
    _, secret = keys.create_personal_key(user=member, organization=organization, name="laptop")

    assert caller(secret).post(f"{transfer}/accept").status_code == 403
    assert owner.memberships.get().role == Role.OWNER


def test_outsiders_find_no_organization(client: Client, transfer: str, outsider: User) -> None:
    client.force_login(outsider)

    assert client.post(f"{transfer}/accept").status_code == 404
    assert client.get(transfer).status_code == 404
