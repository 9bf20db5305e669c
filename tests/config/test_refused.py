from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, Organization, User
from config import staff_groups
from tests.conftest import colleague, sign_in_verified

Key = tuple[ApiKey, str]


def test_a_colleague_is_told_their_groups_where_they_may_not_go(db: None, client: Client) -> None:
    sign_in_verified(client, colleague("Sue", staff_groups.SUPPORT))

    response = client.get(reverse("admin:accounts_apikey_import_keys"))

    assert response.status_code == 403
    page = response.content.decode()
    assert "your group: Support" in page
    assert reverse("admin:search") in page


def test_what_is_not_there_is_said_in_the_back_office(back_office: Client) -> None:
    response = back_office.get("/admin/nowhere/at/all/")

    assert response.status_code == 404
    assert "Back to the overview" in response.content.decode()


def test_customers_are_shown_no_page_of_the_back_office(client: Client, owner: User) -> None:
    client.force_login(owner)

    assert "back office" not in client.get("/nowhere/").content.decode()


def test_support_does_not_see_the_system(db: None, client: Client) -> None:
    sign_in_verified(client, colleague("Sue", staff_groups.SUPPORT))

    assert client.get(reverse("admin:system")).status_code == 403


def test_an_act_that_is_opened_by_its_address_asks_on_a_page(
    back_office: Client, organization_key: Key
) -> None:
    address = reverse("admin:accounts_apikey_disable", args=[organization_key[0].pk])

    page = back_office.get(address).content.decode()
    fragment = back_office.get(address, headers={"HX-Request": "true"}).content.decode()

    assert "<html" in page
    assert "<html" not in fragment
    assert "Disable this key?" in page
    assert "Disable this key?" in fragment


def test_an_act_on_a_page_of_its_own_leads_back_to_the_row(
    back_office: Client, organization_key: Key
) -> None:
    key = organization_key[0]
    address = reverse("admin:accounts_apikey_disable", args=[key.pk])

    response = back_office.post(address, {"reason": "They asked for it", "_form_submitted": "True"})

    assert response.headers["Location"] == reverse("admin:accounts_apikey_change", args=[key.pk])


def test_an_act_on_a_page_of_its_own_without_a_reason_is_refused(
    back_office: Client, organization_key: Key
) -> None:
    address = reverse("admin:accounts_apikey_disable", args=[organization_key[0].pk])

    response = back_office.post(address, {"reason": "", "_form_submitted": "True"})

    assert response.status_code == 400
    assert "This field is required" in response.content.decode()


def test_the_history_of_a_row_is_its_audit_trail(
    back_office: Client, organization: Organization, organization_key: Key
) -> None:
    key = organization_key[0]

    trail = back_office.get(reverse("admin:accounts_apikey_history", args=[key.pk]), follow=True)

    listed = trail.context["cl"].result_list
    assert [entry.action for entry in listed] == ["api_key.created"]
