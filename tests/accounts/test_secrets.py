import math
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import keys, secrets
from accounts.audit import Actor
from accounts.ids import BASE62
from accounts.models import ApiKey, Organization, User


def test_a_key_says_brand_and_environment_before_38_base62_characters(settings: Settings) -> None:
    settings.KEY_BRAND = "acme"

    secret = secrets.generate("staging")

    assert re.fullmatch(r"acme_staging_[0-9A-Za-z]{38}", secret.plaintext)


def test_a_key_has_at_least_190_random_bits() -> None:
    assert secrets.RANDOM_LENGTH * math.log2(len(BASE62)) >= 190


def test_two_keys_share_nothing_but_their_first_words() -> None:
    first, second = secrets.generate("production"), secrets.generate("production")

    assert first.plaintext != second.plaintext
    assert first.secret_hash != second.secret_hash


def test_the_prefix_and_the_last_four_give_away_too_little_to_guess_the_rest() -> None:
    secret = secrets.generate("production")

    shown = len(secret.prefix.removeprefix("ch_production_"))

    assert secret.plaintext.startswith(secret.prefix)
    assert secret.plaintext.endswith(secret.last_four)
    # The last four belong to the checksum, which adds nothing to what the rest already determines.
    assert (secrets.RANDOM_LENGTH - shown) * math.log2(len(BASE62)) - 4 * math.log2(len(BASE62)) > 128


@pytest.mark.parametrize("position", [14, 20, 45, 51])
def test_a_mistyped_character_is_noticed_by_the_checksum(position: int) -> None:
    plaintext = secrets.generate("production").plaintext
    other = "a" if plaintext[position] != "a" else "b"

    assert secrets.is_well_formed(plaintext)
    assert not secrets.is_well_formed(plaintext[:position] + other + plaintext[position + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ch_",
        "ch_production_",
        "sk_live_" + "a" * 38,
        "ch_production_" + "a" * 38,
        "ch_production_" + "é" * 38,
        "ch_production_" + "a" * 10_000,
        "ch_production_\x00" + "a" * 37,
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    assert not secrets.is_well_formed(text)


def test_a_key_of_another_brand_is_malformed(settings: Settings) -> None:
    plaintext = secrets.generate("production").plaintext

    settings.KEY_BRAND = "acme"

    assert not secrets.is_well_formed(plaintext)


def test_a_malformed_key_is_refused_without_a_look_up(
    db: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert ApiKey.objects.with_secret("ch_production_typo").first() is None


def test_the_database_holds_neither_the_key_nor_a_plain_hash_of_it(
    organization: Organization, owner: User
) -> None:
    with CaptureQueriesContext(connection) as queries:
        key, plaintext = keys.create_organization_key(organization=organization, name="k", actor=Actor(owner))

    assert plaintext not in str([query["sql"] for query in queries])
    assert re.fullmatch("[0-9a-f]{64}", key.secret_hash)


def test_keys_made_under_an_old_pepper_go_on_working(
    organization: Organization, owner: User, settings: Settings
) -> None:
    settings.KEY_PEPPERS = {"1": "old"}
    key, plaintext = keys.create_organization_key(organization=organization, name="k", actor=Actor(owner))

    settings.KEY_PEPPERS = {"1": "old", "2": "new"}

    assert ApiKey.objects.with_secret(plaintext).get() == key


def test_new_keys_are_hashed_under_the_last_pepper(settings: Settings) -> None:
    settings.KEY_PEPPERS = {"1": "old", "2": "new"}

    secret = secrets.generate("production")

    settings.KEY_PEPPERS = {"2": "new"}
    assert secret.pepper_id == "2"
    assert secrets.hashes(secret.plaintext) == [secret.secret_hash]


def test_a_pepper_taken_away_ends_the_keys_made_under_it(
    organization: Organization, owner: User, settings: Settings
) -> None:
    settings.KEY_PEPPERS = {"1": "leaked"}
    _, plaintext = keys.create_organization_key(organization=organization, name="k", actor=Actor(owner))

    settings.KEY_PEPPERS = {"2": "new"}

    assert not ApiKey.objects.with_secret(plaintext).exists()
