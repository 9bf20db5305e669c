"""Personal keys of members who lack the second factor that their organization requires."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import two_factor
from accounts.models import ApiKey, Organization, User
from usage import verify


@pytest.fixture
def required(organization: Organization) -> None:
    Organization.objects.update(two_factor_required_from=timezone.now() - timedelta(days=1))


def code_of(key: tuple[ApiKey, str]) -> str:
    answer = verify.verify(key[1], cost=Decimal(0), ip=None, now=timezone.now())
    return str(answer["code"])


def test_they_are_refused_from_the_day_on(personal_key: tuple[ApiKey, str], required: None) -> None:
    assert code_of(personal_key) == "FORBIDDEN"


def test_they_work_until_the_day(personal_key: tuple[ApiKey, str]) -> None:
    Organization.objects.update(two_factor_required_from=timezone.now() + timedelta(days=1))

    assert code_of(personal_key) == "VALID"


def test_they_work_again_once_it_is_set_up(
    personal_key: tuple[ApiKey, str], required: None, owner: User
) -> None:
    version = Organization.objects.get().access_version

    two_factor.enrol_totp(user=owner, actor=None)

    assert code_of(personal_key) == "VALID"
    assert Organization.objects.get().access_version > version


def test_the_organizations_keys_are_not_meant(organization_key: tuple[ApiKey, str], required: None) -> None:
    assert code_of(organization_key) == "VALID"
