import hashlib
import math
import re

import pytest
from django.conf import settings
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


# ── Keys made elsewhere ──────────────────────────────────────────────────────────────────────────────────────


def test_a_foreign_key_is_found_under_the_hash_of_its_sha256() -> None:
    plaintext = "sk_live_4242424242424242"

    stored, pepper_id = secrets.hashes_of_import(hashlib.sha256(plaintext.encode()).hexdigest().upper())

    assert stored in secrets.hashes(plaintext)
    assert pepper_id in settings.KEY_PEPPERS


def test_the_sha256_of_a_foreign_key_is_no_key() -> None:
    sha256 = hashlib.sha256(b"sk_live_4242424242424242").hexdigest()

    assert secrets.hashes_of_import(sha256)[0] not in secrets.hashes(sha256)


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64, "0" * 65, "0" * 63 + "é"])
def test_what_is_no_sha256_is_not_imported(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        secrets.hashes_of_import(text)


@pytest.mark.parametrize(
    "text", ["ch_production_typo", "ch_" + "a" * 60, "short", "a" * 513, "two words here", "nul\0bytes"]
)
def test_what_begins_like_ours_or_fits_no_header_is_not_looked_up(text: str) -> None:
    assert secrets.hashes(text) == []


# ── Finding keys ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "place",
    [
        "{}",
        "API_KEY={}",
        'export KEY="{}";',
        '{{"key":"{}","n":1}}',
        r'"line\n{}\n"',
        "https://api.example.com/?key={}&page=2",
        "key%3D{}%26x",
        "MY_{}_KEY",
        "x{}y",
        "ch_{}",
        "ch_production_{}",
        "ch_production_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{}",
        "Authorization: Bearer {}\r\n",
        "é{}é",
        "({}),",
    ],
)
def test_a_key_is_found_whatever_stands_beside_it(place: str) -> None:
    key = secrets.generate("production").plaintext

    assert secrets.find(place.format(key)) == [key]


def test_each_key_is_found_once_in_the_order_they_come() -> None:
    first, second, third = (secrets.generate(word).plaintext for word in ("staging", "service", "production"))

    assert secrets.find(f"{first}{second} {first}\n{third},{second}") == [first, second, third]


def test_what_is_mistyped_or_of_another_brand_is_not_found(settings: Settings) -> None:
    key = secrets.generate("production").plaintext

    assert secrets.find(key[:-1] + ("a" if key[-1] != "a" else "b")) == []
    settings.KEY_BRAND = "acme"
    assert secrets.find(key) == []


@pytest.mark.parametrize(
    "noise", ["ch_", "ch_a", "c", "ch_production_", "ch_production_" + "a" * 37 + "_", "_"]
)
def test_megabytes_of_almost_keys_are_searched(noise: str) -> None:
    key = secrets.generate("production").plaintext
    text = noise * (3_000_000 // len(noise))

    assert secrets.find(text + " " + key + text) == [key]
