"""A browser in which support looks as a member."""

from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from tests.conftest import sign_in_verified

REASON = "Ticket 4711: calls fail since noon"


def look_page(organization: Organization) -> str:
    return reverse("admin:accounts_organization_look", args=[organization.pk])


def begin(staff: User, organization: Organization, member: User) -> Client:
    client = Client()
    sign_in_verified(client, staff)
    answer = client.post(look_page(organization), {"membership": member.uid, "reason": REASON})
    assert answer.status_code == 302, answer.content.decode()
    return client
