from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import keys, organizations, secrets
from accounts.audit import Actor
from accounts.authentication import BAD_KEY, bearer, usable_key
from accounts.models import ApiKey, Organization, User

URL = "/api/v1/api-keys/whoami"


def ask(client: Client, key: str) -> tuple[int, str]:
    response = client.get(URL, headers={"Authorization": f"Bearer {key}"})
    return response.status_code, response.content.decode()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", ""),
        ("abc", ""),
        ("", ""),
    ],
)
def test_a_key_is_what_follows_bearer(header: str, key: str) -> None:
    assert bearer(header) == key


def test_a_good_key_is_let_in(client: Client, organization_key: tuple[ApiKey, str]) -> None:
    status, _ = ask(client, organization_key[1])

    assert status == 200


def test_without_a_key_the_answer_is_401_and_names_the_scheme(client: Client, db: None) -> None:
    response = client.get(URL)

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"


def test_all_kinds_of_bad_keys_get_one_answer(
    client: Client, organization: Organization, owner: User, organization_key: tuple[ApiKey, str]
) -> None:
    key, revoked = organization_key
    keys.revoke(key=key, actor=Actor(owner))
    yesterday = timezone.now() - timedelta(days=1)
    old, expired = keys.create_organization_key(organization=organization, name="old", actor=Actor(owner))
    ApiKey.objects.filter(pk=old.pk).update(expires_at=yesterday)
    unknown = secrets.generate("production").plaintext

    answers = {ask(client, text) for text in (revoked, expired, unknown, unknown[:-1], "nonsense")}

    [(status, body)] = answers
    assert status == 401
    assert BAD_KEY in body


def test_a_disabled_key_is_not_usable(organization_key: tuple[ApiKey, str]) -> None:
    key, secret = organization_key

    ApiKey.objects.filter(pk=key.pk).update(disabled_at=timezone.now())

    assert usable_key(secret) is None


def test_a_personal_key_ends_with_its_owners_account(personal_key: tuple[ApiKey, str], owner: User) -> None:
    owner.is_active = False
    owner.save()

    assert usable_key(personal_key[1]) is None


def test_bad_keys_never_stop_good_ones_of_the_same_address(
    client: Client, organization_key: tuple[ApiKey, str]
) -> None:
    for _ in range(50):
        ask(client, "ch_production_wrong")

    status, _ = ask(client, organization_key[1])

    assert status == 200


@pytest.mark.parametrize("fields", [{"is_active": False}, {"deleted_at": timezone.now()}])
def test_a_personal_key_ends_with_its_owner(
    personal_key: tuple[ApiKey, str], fields: dict[str, object]
) -> None:
    User.objects.update(**fields)

    assert usable_key(personal_key[1]) is None


def test_keys_of_a_deleted_organization_are_dead(organization_key: tuple[ApiKey, str]) -> None:
    Organization.objects.update(deleted_at=timezone.now())

    assert usable_key(organization_key[1]) is None


def test_a_personal_key_outlives_its_home_for_its_owners_other_organizations(
    client: Client, personal_key: tuple[ApiKey, str], organization: Organization, owner: User
) -> None:
    other = organizations.create(name="Other", owner=owner)
    organizations.delete(organization=organization, actor=Actor(owner))
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {personal_key[1]}"

    there = client.get("/api/v1/jobs", {"orgId": other.uid})
    nowhere, gone = client.get("/api/v1/jobs"), client.get("/api/v1/jobs", {"orgId": organization.uid})

    assert [answer.status_code for answer in (there, nowhere, gone)] == [200, 400, 403]
    assert nowhere.json()["error"]["param"] == "orgId"
    assert client.get("/api/v1/api-keys/whoami").json()["organization"] is None


def test_from_elsewhere_than_its_networks_a_good_key_is_told_so(
    client: Client, organization_key: tuple[ApiKey, str]
) -> None:
    key, secret = organization_key
    keys.update(key=key, changes={"allowed_ips": ["192.0.2.0/24"]}, actor=None)

    status, body = ask(client, secret)

    assert status == 403
    assert "ip_not_allowed" in body and "127.0.0.1" in body
    keys.update(key=key, changes={"allowed_ips": ["192.0.2.0/24", "127.0.0.1"]}, actor=None)
    assert ask(client, secret)[0] == 200
