"""The cast: the same few people and organizations in every test."""

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.test import Client
from django_otp import DEVICE_ID_SESSION_KEY
from pytest_django import Settings

from accounts import keys, organizations, team, two_factor
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from accounts.permissions import Role
from tests.clicks import pytest_terminal_summary
from tests.database import clean_redis, django_db_setup, pytest_runtest_teardown

__all__ = ["clean_redis", "django_db_setup", "pytest_runtest_teardown", "pytest_terminal_summary"]

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """Most tests make people, and the real hash is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def person(name: str, **fields: object) -> User:
    user = User.objects.create_user(f"{name.lower()}@example.com", PASSWORD, name=name, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


@pytest.fixture
def owner(db: None) -> User:
    return person("Olivia")


@pytest.fixture
def organization(owner: User) -> Organization:
    return organizations.create(name="Northwind", owner=owner)


def _member(name: str, role: Role, organization: Organization, owner: User) -> User:
    user = person(name)
    team.add_member(organization=organization, user=user, role=role, actor=Actor(owner))
    return user


@pytest.fixture
def admin(organization: Organization, owner: User) -> User:
    return _member("Adam", Role.ADMIN, organization, owner)


@pytest.fixture
def member(organization: Organization, owner: User) -> User:
    return _member("Mia", Role.MEMBER, organization, owner)


@pytest.fixture
def viewer(organization: Organization, owner: User) -> User:
    return _member("Vera", Role.VIEWER, organization, owner)


@pytest.fixture
def outsider(db: None) -> User:
    return person("Otto")


@pytest.fixture
def other_organization(outsider: User) -> Organization:
    return organizations.create(name="Contoso", owner=outsider)


@pytest.fixture
def staff(db: None) -> User:
    return person("Stella", is_staff=True, is_superuser=True)


def colleague(name: str, *groups: str) -> User:
    """Somebody on the staff who is in these groups, and no superuser."""
    user = person(name, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


@pytest.fixture
def organization_key(organization: Organization, owner: User) -> tuple[ApiKey, str]:
    return keys.create_organization_key(organization=organization, name="production", actor=Actor(owner))


@pytest.fixture
def personal_key(organization: Organization, owner: User) -> tuple[ApiKey, str]:
    return keys.create_personal_key(user=owner, organization=organization, name="laptop")


@pytest.fixture
def service_key(db: None) -> tuple[ApiKey, str]:
    return keys.create_service_key(name="data plane")


def sign_in_verified(client: Client, user: User) -> None:
    """Sign in as somebody who has just typed a right code of their device."""
    enrolment = two_factor.enrol_totp(user=user, actor=None)
    client.force_login(user)
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = enrolment.device.persistent_id
    session.save()


@pytest.fixture
def back_office(staff: User) -> Client:
    """The browser of a member of the staff, signed in to the admin."""
    client = Client()
    sign_in_verified(client, staff)
    return client
