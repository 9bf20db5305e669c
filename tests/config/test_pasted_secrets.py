"""A secret that staff paste where they look for something: in no address, on no page, in no trail."""

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client

from accounts import invitations, links
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Invitation, Organization, User
from accounts.permissions import Role
from tests.config.test_lists import every_list, list_url

SEARCHED = [model for model, shown in admin.site._registry.items() if shown.search_fields]
every_searched_list = pytest.mark.parametrize("model", SEARCHED, ids=lambda model: model._meta.label)
SEARCH, WHY = "/admin/search/", "/admin/why-refused/"
SECRETS = {
    "a mailed link": "https://countinghouse.example/invitations/AbCdEfGhIjKlMnOpQrStUvWxYz012345/",
    "a link to reset a password": "/accounts/password/reset/key/1-cz8v5c-0f3b1d6b2b2f4a0d8e1d0b8f8c2c4a6e/",
    "an endpoint's": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "stripe's": "rk_live_51AbCdEfGhIjKlMnOp",
    "a device's": "otpauth://totp/Countinghouse?secret=DFVEODR2DSJZK52WQYMHQYHSH2QEAPZ5",
    "a device's seed": "DFVEODR2DSJZK52WQYMHQYHSH2QEAPZ5",
}


@every_searched_list
def test_a_key_searched_for_in_a_list_leads_to_its_page(
    back_office: Client, model: type[Model], organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key

    answer = back_office.post(list_url(model), {"q": f" Bearer {secret} "})

    assert answer["Location"] == f"/admin/accounts/apikey/{key.pk}/change/"


@every_searched_list
def test_a_damaged_key_searched_for_in_a_list_is_in_no_answer(
    back_office: Client, model: type[Model], organization_key: tuple[ApiKey, str]
) -> None:
    damaged = organization_key[1][:-1]

    answers = [
        back_office.post(list_url(model), {"q": damaged}, follow=True),
        back_office.get(list_url(model), {"q": damaged}, follow=True),
        back_office.get(list_url(model), {"uid": damaged}, follow=True),
        back_office.get(f"{list_url(model)}csv/", {"q": damaged}, follow=True),
    ]

    for answer in answers:
        assert answer.redirect_chain == [(list_url(model), 302)]
        assert damaged not in answer.content.decode()
        assert "none: it was mistyped" in answer.content.decode()
    assert not AuditEntry.objects.filter(action="admin_list.exported").exists()


@every_list
def test_no_list_lets_the_browser_keep_what_was_searched_for(back_office: Client, model: type[Model]) -> None:
    page = back_office.get(list_url(model)).content.decode()

    assert 'method="get" role="search"' not in page
    assert page.count('role="search"') == page.count('autocapitalize="off"')


def test_what_is_no_secret_goes_on_in_the_address_with_the_filters(back_office: Client) -> None:
    answer = back_office.post("/admin/usage/job/", {"q": "job 1", "status__exact": "Failed"})

    assert answer["Location"] == "/admin/usage/job/?q=job+1&status__exact=Failed"


@pytest.mark.parametrize("url", [SEARCH, "/admin/accounts/organization/"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_other_secrets_are_not_looked_for(back_office: Client, secret: str, url: str) -> None:
    answer = back_office.post(url, {"q": secret}, follow=True)

    assert answer.redirect_chain == [(url, 302)]
    assert secret not in answer.content.decode()
    assert "This is a secret" in answer.content.decode()


def test_the_word_of_a_mailed_link_is_not_looked_for(
    back_office: Client, organization: Organization, owner: User
) -> None:
    invitations.invite(
        organization=organization, email="new@example.com", role=Role.VIEWER, actor=Actor(owner)
    )
    word, token_hash = links.new_token()
    Invitation.objects.update(token_hash=token_hash)

    assert back_office.post(SEARCH, {"q": word})["Location"] == SEARCH


@pytest.mark.parametrize("term", ["0f3b1d6b2b2f4a0d8e1d0b8f8c2c4a6e", "AbCdEfGhIjKlMnOpQrStUvWxYz012345"])
def test_a_jobs_id_of_the_same_form_is_looked_for(back_office: Client, term: str) -> None:
    assert back_office.post(SEARCH, {"q": term})["Location"] == f"{SEARCH}?q={term}"


@pytest.mark.parametrize("name", ["ip", "cost"])
def test_a_key_in_the_wrong_box_is_on_no_page(
    back_office: Client, organization_key: tuple[ApiKey, str], name: str
) -> None:
    page = back_office.post(WHY, {"asked": "x", name: organization_key[1]}).content.decode()

    assert organization_key[1] not in page


@pytest.mark.parametrize(
    "text", ["key_of mine {key}", '{{"api_key_id": "{key}"}}', '{{"organization_id": "{key}"}}', "org_{key}"]
)
def test_no_part_of_a_damaged_key_gets_into_the_address_of_an_answer(
    back_office: Client, organization_key: tuple[ApiKey, str], text: str
) -> None:
    damaged = organization_key[1][:-1]

    answer = back_office.post(WHY, {"asked": text.format(key=damaged)})

    assert damaged[:22] not in answer["Location"]
