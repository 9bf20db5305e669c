"""Who is in the demo: three customers on different plans, their people and keys, and somebody on the staff."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from django.db import transaction

from accounts import invitations, keys, organizations, staff, team, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Membership, Organization, User
from accounts.permissions import Role
from billing import access, plans
from billing.models import CreditEntry, CreditGrant
from config.demo.jobs import Work
from usage import alerts, spending
from usage.models import UsageAlert

STAFF = ("Sasha Support", "staff@countinghouse.example")
CONSULTANT = ("Robin Castellanos", "robin@castellanos.example")
JOINED = timedelta(days=90)  # before now


@dataclass(frozen=True)
class Key:
    """A key and its share of the customer's jobs. `revoked` and `expires` are in days before now."""

    name: str
    environment: str
    share: int
    revoked: int | None = None
    expires: int | None = None


PRODUCTION = Key("production", ApiKey.Environment.PRODUCTION, 78)
KEYS = (
    PRODUCTION,
    Key("staging", ApiKey.Environment.STAGING, 11),
    Key("development", ApiKey.Environment.DEVELOPMENT, 5),
    Key("old importer", ApiKey.Environment.PRODUCTION, 14, revoked=25),
    Key("trial", ApiKey.Environment.DEVELOPMENT, 4, expires=40),
)


@dataclass(frozen=True)
class Customer:
    """An organization of the demo. `jobs_a_day` holds for a working day at the end; `spike` is in days before now.

    `credits` is what is left when the history ends; None where nothing limits them. `invited` has not answered yet.
    `watched` are the credits of a month that people are told of on the way to; `cap` is in dollars a month.
    """

    name: str
    plan: str
    people: tuple[tuple[str, str, Role], ...]
    work: Work
    jobs_a_day: int
    has_endpoint: bool
    spike: int | None = None
    invited: str = ""
    watched: Decimal | None = None
    cap: Decimal | None = None
    # Days ago it went on its plan, and the credits it has left, if it pays in advance.
    since: int | None = None
    credits: Decimal | None = None
    retention_days: int | None = None


CUSTOMERS = (
    Customer(
        name="Northwind Insurance",
        # Its details are kept by agreement, so that there are some to look at; Meridian's are not, as its plan has it.
        plan=plans.PRO,
        people=(
            ("Olivia Brandt", "olivia@northwind.example", Role.OWNER),
            ("Adam Kowalski", "adam@northwind.example", Role.ADMIN),
            ("Mia Fernandes", "mia@northwind.example", Role.MEMBER),
            ("Vera Lindholm", "vera@northwind.example", Role.VIEWER),
            (*CONSULTANT, Role.VIEWER),
        ),
        work=Work(
            folder="northwind-claims",
            kinds=("claim-form", "police-report", "repair-estimate", "medical-bill", "policy"),
            pages=1.6,
            regions={"us": 82, "eu": 18},
            instructions=(
                "Extract the claim as filed. Leave a field empty when the form does not state it.",
                "Read the estimate of the repair shop, labour and parts apart.",
            ),
            fields=(
                "claim_number",
                "policy_number",
                "insured_name",
                "loss_date",
                "report_date",
                "claimed_amount",
                "deductible_amount",
                "damage_items",
            ),
        ),
        jobs_a_day=300,
        has_endpoint=True,
        since=50,
        spike=17,
        invited="priya@northwind.example",
        watched=Decimal(40_000),
        cap=Decimal(1_000),
        retention_days=90,
    ),
    Customer(
        name="Meridian Freight Group",
        plan=plans.ENTERPRISE,
        people=(
            ("Henrik Solberg", "henrik@meridian-freight.example", Role.OWNER),
            ("Amara Nwosu", "amara@meridian-freight.example", Role.ADMIN),
            ("Jun Takeda", "jun@meridian-freight.example", Role.MEMBER),
            ("Lucía Prieto", "lucia@meridian-freight.example", Role.VIEWER),
        ),
        work=Work(
            folder="meridian-documents",
            kinds=(
                "bill-of-lading",
                "customs-declaration",
                "invoice",
                "packing-list",
                "certificate-of-origin",
            ),
            pages=3.2,
            regions={"eu": 55, "us": 25, "ap": 20},
            instructions=(
                "Extract the shipment. Weights are in kilograms.",
                "Read every line of the packing list, also where it goes on over the page.",
                "Extract what customs asks for; codes exactly as printed.",
            ),
            fields=(
                "shipment_number",
                "shipper",
                "consignee",
                "port_of_loading",
                "port_of_discharge",
                "departure_date",
                "declared_amount",
                "invoice_total",
                "line_items",
            ),
        ),
        jobs_a_day=1_150,
        has_endpoint=True,
        since=60,
        spike=6,
    ),
    Customer(
        name="Paperplane Studio",
        plan=plans.PAY_AS_YOU_GO,
        people=(
            ("Nora Feld", "nora@paperplane.example", Role.OWNER),
            (*CONSULTANT, Role.ADMIN),
            ("Ilias Marku", "ilias@paperplane.example", Role.MEMBER),
        ),
        work=Work(
            folder="paperplane-inbox",
            kinds=("receipt", "contract", "invoice"),
            pages=0.8,
            regions={"eu": 100},
            instructions=("Extract the totals of this receipt.",),
            fields=("merchant", "purchase_date", "total", "tax_amount", "line_items"),
        ),
        jobs_a_day=34,
        has_endpoint=False,
        credits=Decimal(21),
    ),
)


@transaction.atomic
def create(*, now: datetime) -> dict[str, Any]:
    """Make everybody and their keys. Returns what `demo.json` tells of them: it is known only now."""
    passwords: dict[str, str] = {}
    email = STAFF[1]
    passwords[email] = _password()
    colleague = staff.make_staff(email=email, name=STAFF[0], password=passwords[email], is_superuser=True)
    enrolment = two_factor.enrol_totp(user=colleague, actor=None)
    _, gateway_key = keys.create_service_key(name="demo data plane")
    return {
        "gateway_key": gateway_key,
        "staff": {"email": email, "password": passwords[email], "totp_secret": enrolment.secret},
        "organizations": [_organization(customer, passwords, now) for customer in CUSTOMERS],
    }


def _organization(customer: Customer, passwords: dict[str, str], now: datetime) -> dict[str, Any]:
    people = [(_person(name, email, passwords, now), role) for name, email, role in customer.people]
    owner = people[0][0]
    organization = organizations.create(name=customer.name, owner=owner)
    for user, role in people[1:]:
        team.add_member(organization=organization, user=user, role=role, actor=Actor(owner))
    if customer.invited:
        invitations.invite(
            organization=organization, email=customer.invited, role=Role.MEMBER, actor=Actor(owner)
        )
    if customer.retention_days is not None:
        access.agree(
            organization=organization,
            retention_days=customer.retention_days,
            reason="Details are kept by agreement",
            actor=None,
        )
    api_keys = {key.name: _key(key, organization, owner, now) for key in KEYS}
    _, personal_key = keys.create_personal_key(user=owner, organization=organization, name="laptop")
    # They have been here for longer than their history.
    joined = now - JOINED
    Organization.objects.filter(pk=organization.pk).update(created_at=joined)
    Membership.objects.filter(organization=organization).update(created_at=joined)
    ApiKey.objects.filter(organization=organization).update(created_at=joined)
    CreditGrant.objects.filter(organization=organization).update(created_at=joined)
    CreditEntry.objects.filter(organization=organization).update(created_at=joined)
    logins = [
        {"email": user.email, "password": passwords[user.email], "role": str(role.value)}
        for user, role in people
    ]
    return {
        "id": organization.uid,
        "name": organization.name,
        "plan": customer.plan,
        "owner": {"email": owner.email, "password": passwords[owner.email]},
        "members": logins[1:],
        "api_key": api_keys[PRODUCTION.name],
        "personal_key": personal_key,
    }


def _person(name: str, email: str, passwords: dict[str, str], now: datetime) -> User:
    """A person who can sign in; somebody known already is in two organizations."""
    if email in passwords:
        return User.objects.get(email=email)
    passwords[email] = _password()
    user = User.objects.create_user(email, passwords[email], name=name, date_joined=now - JOINED)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def _key(key: Key, organization: Organization, owner: User, now: datetime) -> str:
    made, secret = keys.create_organization_key(
        organization=organization,
        name=key.name,
        actor=Actor(owner),
        environment=key.environment,
    )
    if key.expires is not None:
        ApiKey.objects.filter(pk=made.pk).update(expires_at=now - timedelta(days=key.expires))
    if key.revoked is not None:
        keys.revoke(key=made, actor=Actor(owner))
        ApiKey.objects.filter(pk=made.pk).update(revoked_at=now - timedelta(days=key.revoked))
    return secret


def watch_usage(organization: Organization, customer: Customer) -> None:
    """Make the alerts and the cap by which an organization watches what it uses."""
    owner = organization.memberships.get(role=Role.OWNER).user
    if customer.watched:
        alerts.create(
            organization=organization,
            name="Credits of the month",
            metric=UsageAlert.Metric.CREDITS,
            period=UsageAlert.Period.MONTHLY,
            thresholds=alerts.shares(customer.watched, (50, 80, 100), metric=UsageAlert.Metric.CREDITS),
            actor=Actor(owner),
        )
    if customer.cap:
        spending.set_cap(organization=organization, amount=customer.cap, actor=Actor(owner))


def _password() -> str:
    return secrets.token_urlsafe(12)
