"""What the embedded engine makes of endpoints, beyond what the contract asks of every engine."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from svix.api import EndpointGetStatsOptions, EndpointListOptions, EventTypeListOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    AppPortalAccessIn,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EndpointUpsertIn,
)

from accounts.models import Organization
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import Endpoint

NOW = datetime(2026, 6, 18, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://"},
        {"url": "http://[::1"},
        {"url": "http://example.com:0/"},
        {"url": "https://me:secret@example.com/"},
        {"url": "https://example.com/a b"},
        {"url": "https://example.com/\x00"},
        {"description": "\x00"},
        {"description": "a\nb"},
        {"throttle_rate": 0},
        {"throttle_rate": 2**40},
        {"metadata": {"a": "x" * 5_000}},
        {"metadata": {"a": "\x00"}},
        {"event_types": ["\x00"]},
        {"channels": ["\x00"]},
        {"uid": "\x00"},
        {"secret": "\x00"},
        {"headers": {"user-agent": "x"}},
        {"headers": {f"x-{number}": "x" for number in range(51)}},
    ],
)
def test_what_is_wrong_with_an_endpoint_is_a_422_and_makes_none(
    fields: dict[str, Any], organization: Organization, endpoint: NewEndpoint
) -> None:
    with pytest.raises(HTTPValidationError) as error:
        get_svix().endpoint.create(
            organization.uid, EndpointIn(**({"url": "https://example.com/hook"} | fields))
        )

    assert error.value.detail[0].loc[0] == "body"
    assert Endpoint.objects.count() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "1\r\nx-b: 2"},
        {"x-a": "\x00"},
        {"x-a": "x" * 4_097},
        {"x-a": "1", "X-A": "2"},
        {"host": "localhost"},
        {"connection": "close"},
        {"Transfer-Encoding": "chunked"},
        {"webhook-id": "1"},
        {"x-a\r\n": "1"},
        {"x" * 300: "1"},
    ],
)
def test_a_header_that_would_change_the_request_is_a_422(
    headers: dict[str, str], organization: Organization, endpoint: NewEndpoint
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.set_headers(organization.uid, uid, EndpointHeadersIn(headers={"x-kept": "1"}))

    with pytest.raises(HTTPValidationError):
        svix.endpoint.set_headers(organization.uid, uid, EndpointHeadersIn(headers=headers))
    with pytest.raises(HTTPValidationError):
        svix.endpoint.patch_headers(organization.uid, uid, EndpointHeadersPatchIn(headers=headers))

    assert svix.endpoint.get_headers(organization.uid, uid).headers == {"x-kept": "1"}


def test_headers_are_deleted_by_name_and_those_not_told_stay(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    given = EndpointHeadersIn(headers={"X-First": "1", "X-Second": "2", "Authorization": "Bearer x"})
    svix.endpoint.set_headers(organization.uid, uid, given)

    change = EndpointHeadersPatchIn(headers={"x-second": "3"}, delete_headers=["x-first"])
    svix.endpoint.patch_headers(organization.uid, uid, change)

    assert Endpoint.objects.get().headers == {"Authorization": "Bearer x", "x-second": "3"}


def test_headers_and_secrets_are_encrypted_where_they_are_kept(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.set_headers(organization.uid, uid, EndpointHeadersIn(headers={"authorization": "Bearer x"}))
    svix.endpoint.rotate_secret(organization.uid, uid, EndpointSecretRotateIn())

    [row] = Endpoint.objects.values("stored_secret", "stored_headers", "old_secrets")

    assert "Bearer" not in row["stored_headers"]
    assert endpoint.secret not in str(row)
    assert "whsec_" not in str(row)


def test_old_secrets_sign_until_their_time_is_over_the_newest_first(endpoint: NewEndpoint) -> None:
    row = Endpoint.objects.get()
    first = row.secret
    row.rotate(None, grace=timedelta(hours=2), now=NOW)
    second = row.secret
    row.rotate(None, grace=timedelta(hours=1), now=NOW)
    row = Endpoint.objects.get()

    assert row.signing_secrets(NOW) == [row.secret, second, first]
    assert row.signing_secrets(NOW + timedelta(hours=1)) == [row.secret, first]
    assert row.signing_secrets(NOW + timedelta(hours=2)) == [row.secret]


def test_secrets_can_be_rotated_again_when_old_ones_have_ended(endpoint: NewEndpoint) -> None:
    row = Endpoint.objects.get()
    for _ in range(10):
        assert row.rotate(None, grace=timedelta(hours=1), now=NOW)

    assert not row.rotate(None, grace=timedelta(hours=1), now=NOW)
    assert row.rotate(None, grace=timedelta(hours=1), now=NOW + timedelta(hours=1))
    assert len(row.old_secrets) == 1


def test_a_rotation_without_grace_ends_all_old_secrets(endpoint: NewEndpoint) -> None:
    row = Endpoint.objects.get()
    row.rotate(None, grace=timedelta(hours=1), now=NOW)

    row.rotate(None, grace=timedelta(0), now=NOW)

    assert row.signing_secrets(NOW) == [row.secret]


def test_an_endpoint_that_is_turned_on_again_starts_without_a_history(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.patch(organization.uid, uid, EndpointPatch(disabled=True))
    Endpoint.objects.update(failing_since=NOW, exhausted_since=NOW, disabled_reason="It failed for days.")
    assert Endpoint.objects.get().disabled_at

    svix.endpoint.patch(organization.uid, uid, EndpointPatch(disabled=False))

    row = Endpoint.objects.get()
    assert (row.disabled_at, row.disabled_reason, row.failing_since, row.exhausted_since) == (
        None,
        "",
        None,
        None,
    )


def test_an_upsert_leaves_secret_and_headers(organization: Organization, endpoint: NewEndpoint) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.set_headers(organization.uid, uid, EndpointHeadersIn(headers={"x-a": "1"}))

    svix.endpoint.upsert(organization.uid, uid, EndpointUpsertIn(url="https://example.com/"))

    assert svix.endpoint.get_secret(organization.uid, uid).key == endpoint.secret
    assert svix.endpoint.get_headers(organization.uid, uid).headers == {"x-a": "1"}


@pytest.mark.parametrize("limit", [0, -1, 10**30])
def test_a_page_has_a_sensible_limit(limit: int, organization: Organization, endpoint: NewEndpoint) -> None:
    with pytest.raises(HTTPValidationError):
        get_svix().endpoint.list(organization.uid, EndpointListOptions(limit=limit))


@pytest.mark.parametrize("iterator", ["\x00", "-", "a b", "x" * 5_000])
def test_an_iterator_is_a_name(iterator: str, organization: Organization, endpoint: NewEndpoint) -> None:
    with pytest.raises(HTTPValidationError):
        get_svix().endpoint.list(organization.uid, EndpointListOptions(iterator=iterator))
    with pytest.raises(HTTPValidationError):
        get_svix().event_type.list(EventTypeListOptions(iterator=iterator))


def test_nothing_comes_after_what_is_not_there(organization: Organization, endpoint: NewEndpoint) -> None:
    found = get_svix().endpoint.list(organization.uid, EndpointListOptions(iterator="ep_unknown"))

    assert (found.data, found.iterator, found.prev_iterator, found.done) == ([], None, None, True)


def test_a_list_goes_on_after_an_endpoint_that_was_deleted_meanwhile(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix = get_svix()
    newer = svix.endpoint.create(organization.uid, EndpointIn(url="https://example.com/"))
    page = svix.endpoint.list(organization.uid, EndpointListOptions(limit=1))
    svix.endpoint.delete(organization.uid, newer.id)

    rest = svix.endpoint.list(organization.uid, EndpointListOptions(limit=1, iterator=page.iterator))

    assert [one.id for one in rest.data] == [endpoint.endpoint.id]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=timezone(-timedelta(hours=23))),
    ],
)
def test_times_that_never_were_are_refused(
    moment: datetime, organization: Organization, endpoint: NewEndpoint
) -> None:
    with pytest.raises(HttpError) as error:
        get_svix().endpoint.get_stats(
            organization.uid, endpoint.endpoint.id, EndpointGetStatsOptions(until=moment)
        )

    assert error.value.status_code == 400


def test_there_is_no_portal(organization: Organization, endpoint: NewEndpoint) -> None:
    with pytest.raises(HttpError) as error:
        get_svix().authentication.app_portal_access(organization.uid, AppPortalAccessIn())

    assert (error.value.status_code, error.value.code) == (400, "no_portal")
