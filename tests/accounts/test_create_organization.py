"""Making organizations: on the page, once however often the form is sent, and not without end."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts import invitations, organizations
from accounts.audit import Actor
from accounts.models import AuditEntry, Organization, User
from accounts.permissions import Role
from usage.models import Entitlement

PAGE = "/organizations/create/"


@pytest.fixture
def form(client: Client, outsider: User) -> dict[str, Any]:
    """What somebody without an organization sends, with the address it goes to."""
    client.force_login(outsider)
    signed_uid = client.get(PAGE).context["signed_uid"]
    return {
        "path": PAGE,
        "data": {"form": signed_uid, "name": "Zoë & Sons", "time_zone": "Europe/Berlin"},
    }


def test_its_maker_owns_it(client: Client, form: dict[str, Any], outsider: User) -> None:
    response = client.post(**form, follow=True)

    organization = Organization.objects.get()
    assert (organization.name, organization.time_zone) == ("Zoë & Sons", "Europe/Berlin")
    assert organization.billing_email == outsider.email
    assert organization.memberships.get(role=Role.OWNER).user == outsider
    assert Entitlement.objects.get(organization=organization).credits_remaining == 100
    assert response.redirect_chain == [(f"/o/{organization.uid}/api-keys/", 302)]
    assert "Next, create an API key" in response.content.decode()
    assert AuditEntry.objects.get(action="organization.created").actor == outsider


def test_the_same_form_sent_again_makes_no_second_one(client: Client, form: dict[str, Any]) -> None:
    client.post(**form)

    response = client.post(**form, follow=True)

    assert Organization.objects.count() == 1
    assert response.redirect_chain[0][0] == f"/o/{Organization.objects.get().uid}/api-keys/"


def test_a_form_of_somebody_else_is_refused(client: Client, form: dict[str, Any], staff: User) -> None:
    client.force_login(staff)

    response = client.post(**form)

    assert response.status_code == 400
    assert not Organization.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Give the organization a name."),
        ("name", "   ", "Give the organization a name."),
        ("name", "x" * 121, "at most 120 characters"),
        ("name", "Bcc:\r\nsomebody", "cannot be seen"),
        ("name", "right\u202eleft", "cannot be seen"),
        ("name", "nul\0", "Null characters are not allowed"),
        ("time_zone", "Mars/Olympus", "Select a valid choice"),
        ("time_zone", "localtime", "Select a valid choice"),
        ("time_zone", "", "This field is required"),
    ],
)
def test_a_bad_value_is_explained_beside_its_field(
    client: Client, form: dict[str, Any], field: str, value: str, message: str
) -> None:
    form["data"][field] = value

    response = client.post(**form)

    assert response.status_code == 400
    assert message in str(response.context["form"].errors[field])
    assert not Organization.objects.exists()


def test_a_name_is_kept_in_one_form(client: Client, form: dict[str, Any]) -> None:
    form["data"]["name"] = "  Zoe\u0308 "

    client.post(**form)

    assert Organization.objects.get().name == "Zo\u00eb"


def test_nobody_owns_organizations_without_end(
    client: Client, form: dict[str, Any], outsider: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organizations, "MOST_OWNED", 1)
    organizations.delete(organization=organizations.create(name="First", owner=outsider), actor=None)

    response = client.post(**form)

    assert response.status_code == 400
    assert "nobody may own more" in response.content.decode()
    assert Organization.objects.count() == 1


def test_membership_elsewhere_does_not_count(
    monkeypatch: pytest.MonkeyPatch, member: User, organization: Organization
) -> None:
    monkeypatch.setattr(organizations, "MOST_OWNED", 1)

    mine = organizations.create(name="Mine", owner=member)

    assert mine.memberships.get().user == member


def test_somebody_without_one_is_offered_to_make_it(client: Client, outsider: User) -> None:
    client.force_login(outsider)

    page = client.get("/").content.decode()

    assert f'href="{PAGE}"' in page
    assert "You have been invited" not in page


def test_somebody_invited_is_told_so(
    client: Client, organization: Organization, owner: User, outsider: User
) -> None:
    invitations.invite(organization=organization, email=outsider.email, role=Role.VIEWER, actor=Actor(owner))
    client.force_login(outsider)

    page = client.get("/").content.decode()

    assert "You have been invited" in page
    assert organization.name in page


def test_an_invitation_to_an_unverified_address_is_not_shown(
    client: Client, organization: Organization, owner: User, outsider: User
) -> None:
    invitations.invite(organization=organization, email=outsider.email, role=Role.VIEWER, actor=Actor(owner))
    EmailAddress.objects.filter(user=outsider).update(verified=False)
    client.force_login(outsider)

    assert organization.name not in client.get("/").content.decode()
