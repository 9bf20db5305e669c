import re
from pathlib import Path

import pytest
from django.core.checks.registry import registry
from pytest_django import Settings

from config import checks

ENVIRONMENT = [name for _, name, _, _ in checks.ENVIRONMENT]


@pytest.fixture(autouse=True)
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "set")
    settings.DEMO = False
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    settings.BASE_URL = "https://account.example.com"
    settings.SECRET_KEY = "s" * checks.SHORTEST_SECRET
    settings.KEY_PEPPERS = {"1": "p" * checks.SHORTEST_SECRET}


def test_each_finding_has_an_id_of_its_own() -> None:
    written = re.findall(r'"(countinghouse\.[EW]\d+)"', Path(checks.__file__).read_text())

    assert sorted(written) == sorted(set(written))


def errors() -> list[str | None]:
    return [error.id for error in checks.no_demo_parts(None) + checks.no_short_secrets(None)]


def test_production_passes() -> None:
    assert errors() == []


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_what_is_not_set_is_refused_with_the_way_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)

    [error] = checks.no_demo_parts(None)

    assert error.hint
    assert name in error.hint


@pytest.mark.parametrize(
    ("setting", "value", "id"),
    [
        ("DEMO", True, "countinghouse.E001"),
        ("WEBHOOK_ALLOWED_NETWORKS", ["10.0.0.0/8"], "countinghouse.E007"),
        ("BASE_URL", "http://account.example.com", "countinghouse.E008"),
        ("SECRET_KEY", "s" * 31, "countinghouse.E012"),
        ("KEY_PEPPERS", {"1": "aa"}, "countinghouse.E013"),
        ("KEY_PEPPERS", {"1": "p" * 31, "2": "p" * 64}, "countinghouse.E013"),
    ],
)
def test_settings_not_fit_for_production_are_refused(
    setting: str, value: object, id: str, settings: Settings
) -> None:
    setattr(settings, setting, value)

    assert errors() == [id]


def test_every_error_has_an_id_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name)
    settings.DEMO, settings.WEBHOOK_ALLOWED_NETWORKS, settings.BASE_URL = True, ["10.0.0.0/8"], "http://x"

    found = errors()

    assert len(found) == len(set(found)) == len(ENVIRONMENT) + 3


@pytest.mark.parametrize(
    ("url", "token", "expected"),
    [
        ("", "", []),
        ("https://svix.example.com", "token", []),
        ("https://svix.example.com", "", ["countinghouse.E011"]),
        ("", "token", ["countinghouse.E011"]),
    ],
)
def test_half_of_a_svix_server_is_refused_always(
    url: str, token: str, expected: list[str], settings: Settings
) -> None:
    settings.SVIX_SERVER_URL, settings.SVIX_AUTH_TOKEN = url, token

    found = checks.no_half_of_a_svix_server(None)

    assert [error.id for error in found] == expected
    assert checks.no_half_of_a_svix_server in registry.get_checks()


@pytest.mark.parametrize(
    ("url", "secret", "expected"),
    [
        ("", "", []),
        ("https://svix.example.com", "whsec_c2VjcmV0", []),
        ("https://svix.example.com", "", ["countinghouse.W001"]),
    ],
)
def test_a_svix_server_that_does_not_tell_of_failures_is_warned_of(
    url: str, secret: str, expected: list[str], settings: Settings
) -> None:
    settings.SVIX_SERVER_URL, settings.SVIX_OPERATIONAL_SECRET = url, secret

    found = checks.no_silent_svix_server(None)

    assert [warning.id for warning in found] == expected
    assert all(warning.hint and "/webhooks/svix" in warning.hint for warning in found)


@pytest.mark.parametrize(("secret", "count"), [("", 0), ("whsec_c2VjcmV0", 0), ("whsec_", 1), ("whsec_é", 1)])
def test_an_operational_secret_that_is_none_is_refused_always(
    secret: str, count: int, settings: Settings
) -> None:
    settings.SVIX_OPERATIONAL_SECRET = secret

    assert len(checks.no_unreadable_operational_secret(None)) == count
    assert checks.no_unreadable_operational_secret in registry.get_checks()


@pytest.mark.parametrize(("debug", "live", "count"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_a_live_key_and_debug_exclude_each_other(
    settings: Settings, debug: bool, live: bool, count: int
) -> None:
    settings.DEBUG, settings.STRIPE_LIVE_MODE = debug, live

    assert len(checks.no_live_money_while_debugging(None)) == count


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("KEY_BRAND", "acme2", []),
        ("KEY_BRAND", "my_co", ["countinghouse.E014"]),
        ("KEY_BRAND", "", ["countinghouse.E014"]),
        ("KEY_BRAND", "a" * 33, ["countinghouse.E014"]),
        ("KEY_PEPPERS", {}, ["countinghouse.E015"]),
    ],
)
def test_settings_under_which_no_key_works_are_refused_always(
    setting: str, value: object, expected: list[str], settings: Settings
) -> None:
    setattr(settings, setting, value)

    found = checks.no_keys_that_never_work(None)

    assert [error.id for error in found] == expected


@pytest.mark.parametrize("keys", [[], ["short"], ["A" * 43 + "=", "short"]])
def test_encryption_keys_that_encrypt_nothing_are_refused_always(keys: list[str], settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = keys

    [error] = checks.no_broken_encryption_keys(None)

    assert error.id == "countinghouse.E019"
    assert checks.no_broken_encryption_keys in registry.get_checks()


def test_encryption_keys_are_taken() -> None:
    assert checks.no_broken_encryption_keys(None) == []


@pytest.mark.parametrize(
    ("name", "endpoint", "is_right"),
    [
        ("", None, True),
        ("exports", None, True),
        ("exports", "https://s3.example.com", True),
        ("", "https://s3.example.com", False),
    ],
)
def test_where_a_bucket_is_needs_its_name(
    name: str, endpoint: str | None, is_right: bool, settings: Settings
) -> None:
    settings.AWS_STORAGE_BUCKET_NAME = name
    settings.AWS_S3_ENDPOINT_URL = endpoint

    assert (checks.no_half_of_a_bucket(None) == []) is is_right


@pytest.mark.parametrize(("simulated", "expected"), [(True, ["countinghouse.E023"]), (False, [])])
def test_the_simulator_takes_no_money_in_production(
    simulated: bool, expected: list[str], settings: Settings
) -> None:
    settings.STRIPE_IS_SIMULATED = simulated

    assert [error.id for error in checks.no_simulated_money(None)] == expected
    assert checks.no_simulated_money in registry.get_checks(include_deployment_checks=True)


@pytest.mark.parametrize(
    ("live", "base", "expected"),
    [
        (True, "https://api.stripe.com", []),
        (True, "http://127.0.0.1:8002", ["countinghouse.E022"]),
        (False, "http://127.0.0.1:8002", []),
    ],
)
def test_a_live_key_is_sent_to_stripe_only(
    live: bool, base: str, expected: list[str], settings: Settings
) -> None:
    settings.STRIPE_LIVE_MODE, settings.STRIPE_API_BASE = live, base

    assert [error.id for error in checks.no_live_money_elsewhere(None)] == expected
    assert checks.no_live_money_elsewhere in registry.get_checks()
