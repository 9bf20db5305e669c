import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import stripe
from django.core.management import CommandError, call_command
from django.db.models import Sum
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from accounts import authentication
from accounts.models import ApiKey, Membership, Organization, User
from billing import catalogue
from billing.models import BillingAccount, Invoice
from config.demo import build, cast
from tests.billing.simulator_process import SimulatorProcess
from usage.models import DailyUsage, Entitlement, Job, SpendCap, UsageAlert, UsageDay, UsageRecord
from webhooks.models import Endpoint, OutboxMessage

pytestmark = pytest.mark.django_db

DAYS = 2


@pytest.fixture(autouse=True)
def var(settings: Settings, tmp_path: Path) -> Path:
    settings.VAR_DIR = tmp_path
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return tmp_path


@pytest.fixture(autouse=True)
def fewer_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cast, "CUSTOMERS", tuple(replace(customer, jobs_a_day=40) for customer in cast.CUSTOMERS)
    )


def make(var: Path, days: int = DAYS) -> dict[str, Any]:
    call_command(
        "demo", days=days, base_url="http://127.0.0.1:1234", output=var / "out.json", stdout=StringIO()
    )
    demo: dict[str, Any] = json.loads((var / "out.json").read_text())
    return demo


def snapshot() -> dict[str, Any]:
    """Everything that a second build might have changed."""
    return {
        "jobs": list(
            Job.objects.order_by("id").values_list("id", "job_id", "status", "credits", "updated_at")
        ),
        "records": UsageRecord.objects.count(),
        "days": list(UsageDay.objects.order_by("pk").values_list()),
        "entitlements": list(Entitlement.objects.order_by("pk").values_list()),
        "users": list(User.objects.order_by("id").values_list()),
        "keys": list(ApiKey.objects.order_by("id").values_list()),
        "endpoints": list(Endpoint.objects.order_by("id").values_list("uid", "url", "updated_at")),
    }


def test_the_second_build_changes_nothing(var: Path) -> None:
    first = make(var)
    before = snapshot()

    second = make(var)

    assert second == first
    assert snapshot() == before


def test_a_build_broken_off_is_completed(var: Path) -> None:
    def give_up() -> None:
        raise KeyboardInterrupt

    days = 3  # the last of them may have just begun
    with pytest.raises(KeyboardInterrupt):
        build.build(days=days, on_day=give_up)
    part = Job.objects.count()
    demo = make(var, days)

    assert 0 < part < Job.objects.count()
    assert Organization.objects.count() == 3
    assert demo["organizations"][0]["owner"]["email"] == cast.CUSTOMERS[0].people[0][1]


def test_the_output_has_every_address_sign_in_and_key(var: Path) -> None:
    demo = make(var)

    assert set(demo) == {"base_url", "gateway_key", "staff", "organizations", "webhook_sink"}
    assert set(demo["staff"]) == {"email", "password", "totp_secret"}
    for organization in demo["organizations"]:
        assert set(organization) == {"id", "name", "plan", "owner", "members", "api_key", "personal_key"}
        assert set(organization["owner"]) == {"email", "password"}
    assert [organization["plan"] for organization in demo["organizations"]] == [
        "pro",
        "enterprise",
        "pay_as_you_go",
    ]
    assert (var / "out.json").stat().st_mode & 0o777 == 0o600
    assert (var / "demo-secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_keys_work_and_the_people_can_sign_in(var: Path, client: Client) -> None:
    demo = make(var)

    gateway_key = authentication.usable_key(demo["gateway_key"])
    assert gateway_key and gateway_key.kind == ApiKey.Kind.SERVICE
    for organization in demo["organizations"]:
        for name in ("api_key", "personal_key"):
            key = authentication.usable_key(organization[name])
            assert key and key.organization and key.organization.uid == organization["id"]
        for person in (organization["owner"], *organization["members"]):
            assert client.login(email=person["email"], password=person["password"])


def test_every_role_is_there_and_somebody_is_in_two_organizations(var: Path) -> None:
    make(var)

    assert set(Membership.objects.values_list("role", flat=True)) == {"owner", "admin", "member", "viewer"}
    assert Membership.objects.filter(user__email=cast.CONSULTANT[1]).count() == 2


def test_the_first_customer_is_solvent_and_the_last_nearly_out_of_credits(var: Path) -> None:
    make(var)

    left = {
        entitlement.organization.name: entitlement.credits_remaining
        for entitlement in Entitlement.objects.select_related("organization")
    }
    assert (left["Northwind Insurance"] or 0) > 10_000
    assert left["Meridian Freight Group"] is None
    assert left["Paperplane Studio"] == 21


def test_the_first_customer_pays_by_a_subscription_where_there_is_a_simulator(
    var: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = SimulatorProcess(tmp_path / "stripe", ago=61 * 86_400)
    simulator.start()
    settings.STRIPE_API_BASE = simulator.url
    settings.BASE_URL = "https://account.example.com"  # to which no events go
    monkeypatch.setattr(stripe, "api_base", simulator.url)
    try:
        catalogue.sync()
        make(var, days=40)
    finally:
        simulator.stop()

    account = BillingAccount.objects.get(organization__name="Northwind Insurance")
    assert (account.subscription_status, account.is_invoiced) == ("active", False)
    paid = Invoice.objects.filter(organization=account.organization, status="paid")
    assert [invoice.total for invoice in paid] == [799, 799]


def test_the_history_is_rated_and_its_totals_agree(var: Path) -> None:
    make(var)

    assert not UsageRecord.objects.filter(unrated=True).exists()
    assert Job.objects.filter(status="Failed").exclude(error=None).exists()
    sums = {
        model: model.objects.aggregate(Sum("requests"), Sum("pages"), Sum("credits"))
        for model in (UsageRecord, DailyUsage, UsageDay)
    }
    assert sums[UsageRecord] == sums[DailyUsage] == sums[UsageDay]


def test_the_history_notifies_nobody(var: Path) -> None:
    make(var)

    assert Endpoint.objects.count() == 2
    assert not OutboxMessage.objects.filter(event_type__startswith="job.").exists()


def test_the_first_customer_watches_what_it_uses(var: Path) -> None:
    make(var)

    watched = UsageAlert.objects.values_list("organization__name", "threshold").order_by("threshold")
    assert list(watched) == [("Northwind Insurance", number) for number in (20_000, 32_000, 40_000)]
    assert SpendCap.objects.get().amount == 1_000


def test_another_receiver_s_port_moves_the_endpoints(var: Path, settings: Settings) -> None:
    make(var)
    settings.RECEIVER_PORT = 8459

    demo = make(var)

    assert demo["webhook_sink"]["url"] == "http://127.0.0.1:8459"
    assert Endpoint.objects.filter(url__startswith="http://127.0.0.1:8459/hooks/org_").count() == 2


def test_an_endpoint_made_just_before_a_kill_is_found_again(var: Path, settings: Settings) -> None:
    make(var)
    secrets = json.loads((var / "demo-secrets.json").read_text())
    (var / "demo-secrets.json").write_text(json.dumps(secrets | {"endpoints": {}}))
    settings.RECEIVER_PORT = 8459

    make(var)

    assert Endpoint.objects.filter(url__startswith="http://127.0.0.1:8459/hooks/org_").count() == 2
    assert Endpoint.objects.count() == 2


def test_an_endpoint_that_somebody_deleted_stays_deleted(var: Path) -> None:
    make(var)
    Endpoint.objects.all().delete()

    make(var)

    assert not Endpoint.objects.exists()


def test_an_organization_may_be_renamed_or_deleted(var: Path) -> None:
    make(var)
    renamed, deleted, _ = cast.CUSTOMERS
    Organization.objects.filter(name=renamed.name).update(name="Southwind")
    Organization.objects.filter(name=deleted.name).update(uid="org_nobodyknows")  # as if it were gone
    before = snapshot()

    make(var)

    assert snapshot() == before


def test_lost_secrets_are_said_plainly(var: Path) -> None:
    make(var)
    (var / "demo-secrets.json").unlink()

    with pytest.raises(CommandError, match=r"demo-secrets\.json"):
        make(var)


def test_the_code_of_the_moment_opens_the_staffs_device(var: Path) -> None:
    (var / "demo.json").write_text(json.dumps(make(var)))
    output = StringIO()

    call_command("demo", code=True, stdout=output)

    assert TOTPDevice.objects.get(user__is_staff=True).verify_token(output.getvalue().strip())
