import re

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import DjangoAssertNumQueries
from unfold.admin import ModelAdmin as UnfoldModelAdmin

from accounts import audit, keys
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Organization, User
from config.backoffice.site import BackOffice
from tests.conftest import colleague, person, sign_in_verified

SECRET_FIELDS = (
    "password",
    "secret_hash",
    "previous_secret_hash",
    "key",
    "stored_secret",
    "stored_headers",
    "old_secrets",
)


def change_url(obj: Model) -> str:
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])


def settings_url(organization: Organization) -> str:
    """Its form; its page is made in config, and tested there."""
    return reverse("admin:accounts_organization_edit", args=[organization.pk])


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def test_libraries_register_nothing_of_their_own() -> None:
    site = BackOffice()

    site.register(User, ModelAdmin)
    assert not site.is_registered(User)
    site.register(User, UnfoldModelAdmin)
    assert site.is_registered(User)


def test_no_table_of_stripe_is_shown() -> None:
    shown = {model._meta.app_label for model in admin.site._registry}

    assert apps.is_installed("djstripe")
    assert "djstripe" not in shown


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_every_list_and_its_search_answer(back_office: Client, model: type[Model]) -> None:
    assert back_office.get(list_url(model)).status_code == 200
    assert back_office.get(list_url(model), {"q": "x' OR 1=1 --"}).status_code == 200
    assert back_office.get(list_url(model), {"q": "nul\x00byte"}).status_code in (200, 302)


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
@pytest.mark.parametrize("id", ["word", "1/2", "9" * 40])
def test_what_is_no_id_leads_back(back_office: Client, model: type[Model], id: str) -> None:
    response = back_office.get(f"{list_url(model)}{id}/change/")

    assert response.status_code == 302


@pytest.mark.parametrize("action", ["revoke", "disable", "enable"])
def test_nothing_is_done_to_what_is_no_id(back_office: Client, action: str) -> None:
    response = back_office.post(f"{list_url(ApiKey)}word/{action}/")

    assert response.status_code == 403


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_no_secret_is_in_a_form_or_list(model: type[Model]) -> None:
    shown = admin.site._registry[model]
    named = str([shown.list_display, shown.fields, shown.fieldsets, shown.search_fields, shown.list_filter])

    assert not re.search(r"'({})'".format("|".join(SECRET_FIELDS)), named)


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        (TOTPDevice, "key__startswith"),
        (ApiKey, "secret_hash__startswith"),
        (ApiKey, "previous_secret_hash__startswith"),
        (User, "password__startswith"),
    ],
)
def test_secrets_cannot_be_spelled_out_by_filters(
    back_office: Client, model: type[Model], lookup: str
) -> None:
    response = back_office.get(list_url(model), {lookup: "a"})

    assert response.status_code == 400


def test_the_pages_of_a_person_and_a_device_show_no_hash_and_no_seed(
    back_office: Client, staff: User
) -> None:
    device = TOTPDevice.objects.get(user=staff)

    pages = back_office.get(change_url(staff)).content + back_office.get(change_url(device)).content

    assert staff.password.encode() not in pages
    assert b"algorithm" not in pages
    assert device.key.encode() not in pages


def test_the_overview_and_the_sidebar_group_the_models(back_office: Client) -> None:
    page = back_office.get("/admin/").content.decode()

    for title in ("Customers", "Usage", "System", "Organizations", "API keys", "Credit rates"):
        assert title in page


@pytest.mark.parametrize("by", ["name", "uid", "member"])
def test_an_organization_is_found_by_name_id_and_member(
    back_office: Client, organization: Organization, other_organization: Organization, owner: User, by: str
) -> None:
    term = {"name": "northw", "uid": organization.uid, "member": owner.email}[by]

    page = back_office.get(list_url(Organization), {"q": term}).content.decode()

    assert organization.uid in page
    assert other_organization.uid not in page


def test_an_organizations_settings_show_its_people_and_keys(
    back_office: Client,
    organization: Organization,
    member: User,
    organization_key: tuple[ApiKey, str],
) -> None:
    key, secret = organization_key

    page = back_office.get(settings_url(organization)).content.decode()

    assert member.email in page
    assert key.masked in page
    assert secret not in page
    assert key.secret_hash not in page


def test_renaming_an_organization_is_recorded_and_told_to_the_caches(
    back_office: Client, organization: Organization, staff: User
) -> None:
    form = {"name": "Northwind Ltd", "billing_email": organization.billing_email} | management_forms(
        "notes", "memberships", "api_keys"
    )
    before = Organization.objects.get().access_version

    response = back_office.post(settings_url(organization), form)

    assert response.status_code == 302
    assert response["Location"] == change_url(organization)
    entry = AuditEntry.objects.get(action=audit.Action.ORGANIZATION_UPDATED)
    assert (entry.actor, entry.before, entry.after) == (
        staff,
        {"name": "Northwind"},
        {"name": "Northwind Ltd"},
    )
    assert Organization.objects.get().access_version == before + 1


def test_saving_without_a_change_records_nothing(back_office: Client, organization: Organization) -> None:
    form = {"name": organization.name, "billing_email": organization.billing_email} | management_forms(
        "notes", "memberships", "api_keys"
    )

    back_office.post(settings_url(organization), form)

    assert not AuditEntry.objects.filter(action=audit.Action.ORGANIZATION_UPDATED).exists()


@pytest.mark.parametrize("action", ["add", "delete"])
def test_the_audit_trail_can_be_neither_added_to_nor_cut(
    back_office: Client, organization: Organization, action: str
) -> None:
    entry = AuditEntry.objects.latest("pk")
    arguments = [] if action == "add" else [entry.pk]
    url = reverse(f"admin:accounts_auditentry_{action}", args=arguments)

    assert back_office.post(url, {"post": "yes"}).status_code == 403
    assert AuditEntry.objects.filter(pk=entry.pk).exists()


def test_the_audit_trail_cannot_be_changed(back_office: Client, organization: Organization) -> None:
    entry = AuditEntry.objects.latest("pk")

    response = back_office.post(change_url(entry), {"actor_name": "nobody"})

    assert response.status_code == 403


def test_an_entry_shows_before_and_after(back_office: Client, organization: Organization) -> None:
    entry = audit.record(
        audit.Action.ORGANIZATION_UPDATED,
        actor=None,
        target=organization,
        before={"name": "<b>Old</b>"},
        after={"name": "New"},
    )

    page = back_office.get(change_url(entry)).content.decode()

    assert "&lt;b&gt;Old&lt;/b&gt;" in page
    assert "New" in page


def test_the_lists_of_customers_cost_the_same_however_long(
    back_office: Client,
    organization: Organization,
    owner: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        keys.create_organization_key(organization=organization, name=f"key {number}", actor=Actor(owner))

    with django_assert_max_num_queries(12):
        back_office.get(list_url(ApiKey))
    with django_assert_max_num_queries(14):
        back_office.get(settings_url(organization))


def management_forms(*prefixes: str) -> dict[str, str]:
    """What a browser sends for the read-only lists on a page."""
    return {f"{prefix}-{field}": "0" for prefix in prefixes for field in ("TOTAL_FORMS", "INITIAL_FORMS")}


@pytest.mark.parametrize("is_allowed", [True, False])
def test_an_address_is_marked_as_verified_by_who_may_change_people(
    back_office: Client, staff: User, owner: User, is_allowed: bool
) -> None:
    staff.is_superuser = False
    staff.save()
    names = ["view_emailaddress"] + ["change_user"] * is_allowed
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    address = EmailAddress.objects.get(user=owner)
    EmailAddress.objects.update(verified=False)

    form = {"action": "mark_verified", "_selected_action": str(address.pk)}
    back_office.post(list_url(EmailAddress), form)

    address.refresh_from_db()
    assert address.verified == is_allowed
    assert AuditEntry.objects.filter(target_uid=owner.uid, after__verified=True).exists() == is_allowed


def test_staff_without_rights_are_told_whom_to_ask(back_office: Client, staff: User) -> None:
    staff.is_superuser = False
    staff.save()

    assert "Ask a superuser" in back_office.get("/admin/").content.decode()


def test_an_organizations_members_are_counted_whatever_was_searched(
    back_office: Client, organization: Organization, member: User, viewer: User
) -> None:
    [found] = back_office.get(list_url(Organization), {"q": "@example.com"}).context["cl"].result_list

    assert found.member_count == 3


def test_no_address_is_marked_as_verified_of_oneself_or_a_superuser(owner: User) -> None:
    client, ada, superuser = Client(), colleague("Ada", "Administrator"), person("Sue", is_superuser=True)
    sign_in_verified(client, ada)
    EmailAddress.objects.update(verified=False)
    chosen = EmailAddress.objects.filter(user__in=[ada, superuser, owner]).values_list("pk", flat=True)

    client.post(list_url(EmailAddress), {"action": "mark_verified", "_selected_action": list(chosen)})

    assert [each.user for each in EmailAddress.objects.filter(verified=True)] == [owner]
    assert [each.target_uid for each in AuditEntry.objects.filter(after__verified=True)] == [owner.uid]
