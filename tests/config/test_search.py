"""One search for everything: each kind is found, nothing secret gets into an address, and it stays quick."""

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import invitations, keys, organizations
from accounts.audit import Actor
from accounts.models import ApiKey, Note, Organization, User
from accounts.permissions import Role
from billing.models import BillingAccount, CreditGrant, Invoice
from config import staff_groups
from config.backoffice import search
from tests.conftest import colleague, person, sign_in_verified
from usage.models import Entitlement
from webhooks.models import Application, Endpoint, Message, OutboxMessage

URL = "/admin/search/"


def page_of(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def found(client: Client, term: str) -> str:
    """The page of the one thing that a term names."""
    response = client.get(URL, {"q": term})
    assert response.status_code == 302, response.content
    return response["Location"]


@pytest.fixture
def back_office_of(db: None) -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client = Client()
        sign_in_verified(client, user)
        return client

    return sign_in


@pytest.fixture
def invoice(organization: Organization) -> Invoice:
    return Invoice.objects.create(
        organization=organization,
        stripe_id="in_1NorthwindMarch",
        number="NWND-0007",
        status="paid",
        total=Decimal(20),
        amount_due=Decimal(20),
        amount_paid=Decimal(20),
        stripe_payment="pi_3Payment",
        created_at=timezone.now(),
    )


def test_the_box_is_on_every_page_and_large_on_the_overview(
    back_office: Client, organization: Organization
) -> None:
    overview = back_office.get("/admin/").content.decode()
    of_organization = back_office.get(page_of(organization)).content.decode()

    assert overview.count(f'action="{URL}"') == 2
    assert of_organization.count(f'action="{URL}"') == 1
    assert 'name="csrfmiddlewaretoken"' in of_organization


def test_a_term_that_is_no_secret_goes_on_in_the_address(back_office: Client) -> None:
    response = back_office.post(URL, {"q": "  North \n wind "})

    assert response["Location"] == f"{URL}?q=North+wind"


@pytest.mark.parametrize("term", ["northw", "Northwind", "NORTHWIND"])
def test_an_organization_by_how_its_name_begins(
    back_office: Client, organization: Organization, term: str
) -> None:
    assert found(back_office, term) == page_of(organization)


def test_an_organization_by_any_word_of_its_name(back_office: Client, owner: User) -> None:
    made = organizations.create(name="The Müller & Söhne Company", owner=owner)

    for term in ("müller", "söhne", "comp mül", "Müller & Söhne"):
        assert found(back_office, term) == page_of(made)


def test_an_organization_by_its_id_and_by_what_stripe_calls_it(
    back_office: Client, organization: Organization
) -> None:
    BillingAccount.objects.filter(organization=organization).update(
        stripe_customer="cus_Northwind", stripe_subscription="sub_Northwind"
    )

    for term in (organization.uid, "cus_Northwind", "sub_Northwind"):
        assert found(back_office, term) == page_of(organization)


@pytest.mark.parametrize("term", ["invoices@northwind.example", "northwind.example", "@northwind"])
def test_an_organization_by_its_billing_address_or_a_part_of_it(
    back_office: Client, organization: Organization, term: str
) -> None:
    Organization.objects.update(name="Other", billing_email="invoices@northwind.example")

    assert found(back_office, term) == page_of(organization)


def test_the_address_of_a_member_of_one_organization_leads_to_both(
    back_office: Client, organization: Organization, owner: User
) -> None:
    assert found(back_office, "Olivia@Example.com") == f"{page_of(organization)}?person={owner.uid}"


def test_a_members_address_finds_the_person_and_the_organizations(
    back_office: Client, organization: Organization, owner: User
) -> None:
    organizations.create(name="Another of hers", owner=owner)

    page = back_office.get(URL, {"q": "Olivia@Example.com"}).content.decode()

    assert page_of(owner) in page
    assert page_of(organization) in page


@pytest.mark.parametrize("term", ["outsider", "otto", "otto@", "otto@exam", "OTTO@EXAMPLE.COM"])
def test_a_person_by_their_name_and_by_parts_of_their_address(
    back_office: Client, outsider: User, term: str
) -> None:
    User.objects.filter(pk=outsider.pk).update(name="Olaf Outsider")

    assert found(back_office, term) == page_of(outsider)


def test_what_else_an_address_is_of_is_not_passed_over(
    back_office: Client, organization: Organization, owner: User, other_organization: Organization
) -> None:
    invited = invitations.invite(
        organization=other_organization, email=owner.email, role=Role.MEMBER, actor=None
    )

    page = back_office.get(URL, {"q": owner.email}).content.decode()

    assert page_of(invited) in page


def test_a_person_by_their_id(back_office: Client, outsider: User) -> None:
    assert found(back_office, outsider.uid) == page_of(outsider)


def test_an_address_that_is_not_verified_is_shown_beside_its_person(
    back_office: Client, outsider: User
) -> None:
    address = EmailAddress.objects.get(user=outsider)
    EmailAddress.objects.update(verified=False)

    page = back_office.get(URL, {"q": outsider.email}).content.decode()

    assert page_of(address) in page
    assert "unverified" in page


def test_an_invitation_by_its_id_and_its_address(
    back_office: Client, organization: Organization, owner: User
) -> None:
    invitation = invitations.invite(
        organization=organization,
        email="new.colleague@elsewhere.example",
        role=Role.MEMBER,
        actor=Actor(owner),
    )

    for term in (invitation.uid, "new.colleague@elsewhere.example", "elsewhere"):
        assert found(back_office, term) == page_of(invitation)


def test_a_key_by_its_id_and_by_what_is_shown_of_it(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key = organization_key[0]

    for term in (key.uid, key.prefix, key.last_four, key.masked, f"…{key.last_four}"):
        assert found(back_office, term) == page_of(key)


def test_a_job_by_its_id(
    back_office: Client, post_jobs: Callable[..., Any], job: Callable[..., Any], organization: Organization
) -> None:
    post_jobs(job("doc-77"))
    made = organization.jobs.get()

    assert found(back_office, "doc-77") == page_of(made)
    assert back_office.get(URL, {"q": "doc-7"}).status_code == 200


@pytest.mark.parametrize("term", ["in_1NorthwindMarch", "NWND-0007", "nwnd-0007", "pi_3Payment"])
def test_an_invoice_by_stripes_id_its_number_and_its_payment(
    back_office: Client, invoice: Invoice, term: str
) -> None:
    assert found(back_office, term) == page_of(invoice)


def test_an_invoice_by_our_id(back_office: Client, invoice: Invoice) -> None:
    assert found(back_office, invoice.uid) == page_of(invoice)


def test_a_message_by_its_id_and_by_the_event_that_it_tells_of(
    back_office: Client, organization: Organization
) -> None:
    Application.objects.create(organization=organization, name="x")
    written = OutboxMessage.objects.create(
        organization=organization, event_type="job.completed", payload="{}"
    )
    waiting = found(back_office, written.uid)
    message = Message.objects.create(
        organization=organization, event_type="job.completed", payload="{}", event_id=written.uid
    )

    assert waiting == page_of(written)
    assert found(back_office, message.uid) == page_of(message)
    assert found(back_office, written.uid) == page_of(message)


def test_an_endpoint_by_its_id_and_by_parts_of_its_url(
    back_office: Client, organization: Organization
) -> None:
    endpoint = Endpoint.objects.create(
        organization=organization, url="https://hooks.contoso.example/in/documents?v=2"
    )

    for term in (endpoint.uid, "hooks.contoso", "https://hooks.contoso.example/in/", "documents"):
        assert found(back_office, term) == page_of(endpoint)


def test_anything_else_of_the_admin_by_its_id(back_office: Client, organization: Organization) -> None:
    grant = CreditGrant.objects.get(organization=organization)

    assert found(back_office, grant.uid) == page_of(grant)


@pytest.mark.parametrize(
    "term", ["nobody knows this", "', :*", "—", "a", "%", "_", "nul\0byte", "x" * 9000, "&|!()"]
)
def test_whatever_is_typed_is_answered(back_office: Client, term: str) -> None:
    assert back_office.get(URL, {"q": term}).status_code == 200
    assert back_office.post(URL, {"q": term}, follow=True).status_code == 200


def test_several_are_grouped_by_kind_with_ten_of_each_and_the_way_to_the_rest(
    back_office: Client, owner: User
) -> None:
    for number in range(12):
        organizations.create(name=f"Fabrikam {number}", owner=owner)

    page = back_office.get(URL, {"q": "fabrikam"}).content.decode()

    assert page.count("Fabrikam ") == search.SHOWN
    assert "/admin/accounts/organization/?q=fabrikam" in page


def test_an_organization_is_shown_with_plan_state_and_what_is_pinned(
    back_office: Client, organization: Organization, other_organization: Organization
) -> None:
    Organization.objects.update(billing_email="same@example.org")
    Entitlement.objects.filter(organization=organization).update(may_call=False)
    notes = [("Never call them", True, None), ("A remark", False, None), ("Gone", True, timezone.now())]
    for text, is_pinned, removed_at in notes:
        Note.objects.create(organization=organization, text=text, is_pinned=is_pinned, removed_at=removed_at)

    page = back_office.get(URL, {"q": "same@example.org"}).content.decode()

    assert all(text in page for text in ("Pay-as-you-go", "suspended", "allowed", "Never call them"))
    assert "A remark" not in page
    assert "Gone" not in page


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"credits_ceiling": 0}, "out of credits"),
        ({"spend_cap_reached_until": timezone.now() + timedelta(days=1)}, "spend cap reached"),
    ],
)
def test_an_organization_that_may_not_call_is_shown_so(
    back_office: Client,
    organization: Organization,
    other_organization: Organization,
    terms: dict[str, Any],
    words: str,
) -> None:
    Organization.objects.update(billing_email="same@example.org")
    Entitlement.objects.update(credits_ceiling=None)
    Entitlement.objects.filter(organization=organization).update(**terms)

    page = back_office.get(URL, {"q": "same@example.org"}).content.decode()

    assert words in page
    assert "allowed" in page


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("around", ["{}", "  {}\n", "Bearer {}", 'curl -H "Authorization: Bearer {}"'])
def test_a_pasted_key_leads_to_its_page_and_is_in_no_answer(
    back_office: Client, organization_key: tuple[ApiKey, str], method: str, around: str
) -> None:
    key, secret = organization_key

    response = getattr(back_office, method)(URL, {"q": around.format(secret)})

    assert response["Location"] == page_of(key)
    assert secret not in str(response.headers) + response.content.decode()


def test_the_secret_before_a_rotation_and_an_imported_one_are_found(
    back_office: Client, organization_key: tuple[ApiKey, str], organization: Organization
) -> None:
    key, old = organization_key
    keys.rotate(key=key, grace=keys.GRACES["1 hour"], actor=None)
    sha256 = hashlib.sha256(b"old-system-key").hexdigest()
    imported, _ = keys.create_imported_key(
        organization=organization, sha256=sha256, name="legacy", actor=None
    )

    assert back_office.post(URL, {"q": old})["Location"] == page_of(key)
    assert back_office.post(URL, {"q": "old-system-key"})["Location"] == page_of(imported)


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"), "begins like a key of ours"),
        (lambda secret: secret[:-9], "begins like a key of ours"),
        (lambda secret: f"mine is {secret[:-3]}", "begins like a key of ours"),
        (lambda secret: "sk_live_" + "4242" * 6, "no key of ours"),
        (lambda secret: "whsec_" + "4242" * 6, "no key of ours"),
    ],
)
def test_what_looks_like_a_key_is_answered_without_an_echo(
    back_office: Client,
    organization_key: tuple[ApiKey, str],
    method: str,
    change: Callable[[str], str],
    words: str,
) -> None:
    term = change(organization_key[1])

    response = getattr(back_office, method)(URL, {"q": term}, follow=True)

    page = response.content.decode()
    assert response.redirect_chain == [(URL, 302)]
    assert words in page
    assert term not in page


def test_a_key_that_nobody_was_given_is_told_from_a_damaged_one(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    ApiKey.objects.all().delete()

    page = back_office.post(URL, {"q": organization_key[1]}, follow=True).content.decode()

    assert "nobody was ever given it" in page


def test_no_key_gets_into_the_log(
    back_office: Client, organization_key: tuple[ApiKey, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = organization_key[1]

    for term in (secret, secret[:-1]):
        back_office.post(URL, {"q": term}, follow=True)

    assert secret[:-1] not in caplog.text


# ── Why a call is refused ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("method", ["post", "get"])
def test_a_key_with_the_callers_address_leads_to_why_it_is_refused(
    back_office: Client, organization_key: tuple[ApiKey, str], method: str
) -> None:
    key, secret = organization_key
    why = f"/admin/why-refused/?key={key.uid}&ip=198.51.100.7"

    for term in (f"{key.uid} 198.51.100.7", f"198.51.100.7 {secret}"):
        assert getattr(back_office, method)(URL, {"q": term})["Location"] == why


def test_an_answer_of_verify_leads_to_why_it_was(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key = organization_key[0]
    answer = json.dumps({"valid": False, "code": "DISABLED", "api_key_id": key.uid})

    location = back_office.post(URL, {"q": answer})["Location"]

    assert location == f"/admin/why-refused/?key={key.uid}&code=DISABLED"


def test_a_key_in_the_place_of_an_id_is_in_no_address(
    back_office: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key

    location = back_office.post(URL, {"q": json.dumps({"api_key_id": secret})})["Location"]

    assert location == page_of(key)


@pytest.mark.parametrize("term", ["198.51.100.7", "198.51.100.7 203.0.113.9", '{"a": 1}', "{", "x 1.2.3.4"])
def test_what_asks_nothing_of_the_kind_is_looked_for(back_office: Client, term: str) -> None:
    assert back_office.get(URL, {"q": term}).status_code == 200


# ── Permissions ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", [staff_groups.SUPPORT, staff_groups.BILLING_DESK, staff_groups.ENGINEER])
def test_every_group_finds_everything(
    back_office_of: Callable[[User], Client], organization: Organization, invoice: Invoice, name: str
) -> None:
    client = back_office_of(colleague("Sam", name))

    assert found(client, organization.uid) == page_of(organization)
    assert found(client, invoice.number) == page_of(invoice)


def test_who_may_look_at_nothing_finds_nothing(
    back_office_of: Callable[[User], Client],
    organization: Organization,
    organization_key: tuple[ApiKey, str],
) -> None:
    client = back_office_of(colleague("Sam"))

    page = client.get(URL, {"q": "northwind"}).content.decode()
    of_key = client.post(URL, {"q": organization_key[1]}, follow=True).content.decode()

    assert page_of(organization) not in page
    assert page_of(organization_key[0]) not in of_key
    assert "keys are not open to you" in of_key
    asked = client.post(URL, {"q": f"{organization_key[0].uid} 198.51.100.7"})
    assert "/why-refused/" not in asked["Location"]


def test_customers_and_strangers_are_sent_to_sign_in(owner: User) -> None:
    client = Client()
    before = client.post(URL, {"q": "northwind"})
    client.force_login(owner)

    for response in (before, client.get(URL, {"q": "northwind"})):
        assert response["Location"].startswith("/admin/login/")


def test_a_pasted_key_is_not_handed_on_to_the_sign_in(organization_key: tuple[ApiKey, str]) -> None:
    response = Client().post(URL, {"q": organization_key[1]})

    assert organization_key[1] not in response["Location"]


# ── Speed ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_queries_are_as_many_whatever_is_found(back_office: Client, owner: User) -> None:
    def queries(term: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert back_office.get(URL, {"q": term}).status_code == 200
        return len(asked)

    organizations.create(name="Woodgrove One", owner=owner)
    person("Woodgrove")
    few = queries("woodgrove")
    for number in range(11):
        made = organizations.create(name=f"Woodgrove {number}", owner=owner)
        keys.create_organization_key(organization=made, name="x", actor=None)
        Note.objects.create(organization=made, text="Careful", is_pinned=True)
        Endpoint.objects.create(organization=made, url=f"https://woodgrove.example/{number}")

    many = queries("woodgrove")

    assert many - few <= 1  # the notes of people and organizations are asked for where there are any
    assert many <= 25


@pytest.mark.parametrize(
    ("term", "index"),
    [
        ("northwind", "organization_words"),
        ("northwind", "user_words"),
        ("northwind", "invitation_words"),
        ("northwind", "endpoint_words"),
        ("someone@example.com", "organization_words"),
        ("ch_production_AbCd", "api_key_prefix"),
        ("AbCd", "api_key_last_four"),
        ("NWND-0007", "invoice_number"),
        ("pi_3Payment", "invoice_payment"),
    ],
)
def test_each_kind_is_found_by_its_index(db: None, term: str, index: str) -> None:
    plans = ""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    for kind in search.KINDS:
        rows = kind.find(search.Term(term))
        if rows is not None:
            plans += rows.order_by().select_related(None).explain()  # these have indexes of their own

    assert index in plans
