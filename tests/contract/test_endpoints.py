"""Endpoints: cases 6–12, 18, 39 and 40 of the conformance table."""

import base64
from typing import Any

import pytest
from svix.api import EndpointListOptions, MessageListOptions
from svix.exceptions import HTTPValidationError
from svix.models import (
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EndpointUpsertIn,
    Ordering,
)

from tests.contract.conftest import Engine, refused

URL = "https://example.com/hook"


def _refuses(engine: Engine, app: str, **fields: Any) -> bool:
    with pytest.raises(HTTPValidationError) as error:
        engine.endpoint(app, **fields)
    return error.value.status_code == 422 and error.value.detail[0].loc[0] == "body"


def test_case_06_event_types_are_known_ones_or_all(engine: Engine, app: str) -> None:
    made = engine.endpoint(app, event_types=["job.failed"])

    assert made.event_types == ["job.failed"]
    assert engine.endpoint(app).event_types is None
    assert _refuses(engine, app, event_types=["job.unheard_of"])
    assert _refuses(engine, app, event_types=[])
    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.patch(app, made.id, EndpointPatch(event_types=[]))


def test_case_07_an_endpoint_has_at_most_ten_channels_and_a_message_five(engine: Engine, app: str) -> None:
    ten = [f"channel-{number}" for number in range(10)]

    assert sorted(engine.endpoint(app, channels=ten).channels or []) == sorted(ten)
    assert sorted(engine.send(app, channels=ten[:5]).channels or []) == sorted(ten[:5])
    for channels in ([], [*ten, "eleven"]):
        assert _refuses(engine, app, channels=channels)
    for channels in ([], ten[:6]):
        with pytest.raises(HTTPValidationError):
            engine.send(app, channels=channels)


@pytest.mark.parametrize("name", ["two words", "a/b", "ä", "x" * 257])
def test_case_08_names_are_letters_digits_and_a_few_signs(name: str, engine: Engine, app: str) -> None:
    assert engine.endpoint(app, uid="aZ09-_.").uid == "aZ09-_."
    assert _refuses(engine, app, uid=name)
    assert _refuses(engine, app, uid="ep_like_an_id")
    assert _refuses(engine, app, channels=[name])
    for fields in ({"event_type": name}, {"event_id": name}, {"channels": [name]}, {"event_id": "msg_like"}):
        with pytest.raises(HTTPValidationError):
            engine.send(app, **fields)


@pytest.mark.parametrize("url", ["ftp://example.com/", "file:///etc/passwd", "example.com", ""])
def test_case_09_a_url_is_http_or_https_and_may_name_a_private_address(
    url: str, engine: Engine, app: str
) -> None:
    assert engine.endpoint(app, "http://10.0.0.1/hook").url == "http://10.0.0.1/hook"
    assert _refuses(engine, app, url=url)


def test_case_10_a_patch_keeps_what_is_absent_and_null_clears(engine: Engine, app: str) -> None:
    made = engine.endpoint(
        app, uid="billing", event_types=["job.failed"], channels=["a"], metadata={"a": "b"}, throttle_rate=5
    )

    kept = engine.svix.endpoint.patch(app, made.id, EndpointPatch(description="Billing"))
    cleared = engine.svix.endpoint.patch(
        app, made.id, EndpointPatch(event_types=None, channels=None, uid=None, throttle_rate=None)
    )

    assert kept.description == "Billing"
    assert (kept.event_types, kept.channels, kept.uid) == (["job.failed"], ["a"], "billing")
    assert (kept.url, kept.metadata, kept.throttle_rate) == (made.url, {"a": "b"}, 5)
    assert (cleared.event_types, cleared.channels, cleared.uid) == (None, None, None)
    assert (cleared.throttle_rate, cleared.metadata, cleared.description) == (None, {"a": "b"}, "Billing")


def test_case_11_an_upsert_makes_what_is_unknown_and_replaces_what_is_known(engine: Engine, app: str) -> None:
    made = engine.svix.endpoint.upsert(
        app, "billing", EndpointUpsertIn(url=URL, uid="billing", channels=["a"], description="Billing")
    )

    replaced = engine.svix.endpoint.upsert(app, "billing", EndpointUpsertIn(url=f"{URL}/2", uid="billing"))

    assert made.uid == "billing"
    assert (replaced.id, replaced.url) == (made.id, f"{URL}/2")
    assert (replaced.channels, replaced.description) == (None, "")
    assert len(engine.svix.endpoint.list(app).data) == 1


def test_case_12_a_secret_is_24_bytes_or_a_given_one_of_24_to_75(engine: Engine, app: str) -> None:
    def secret_of(endpoint_id: str) -> str:
        return engine.svix.endpoint.get_secret(app, endpoint_id).key

    def of(length: int) -> str:
        return "whsec_" + base64.b64encode(b"k" * length).decode()

    generated = secret_of(engine.endpoint(app).id)

    assert len(base64.b64decode(generated.removeprefix("whsec_"))) == 24
    assert generated.startswith("whsec_")
    for length in (24, 75):
        assert secret_of(engine.endpoint(app, secret=of(length)).id) == of(length)
    for wrong in (of(23), of(76), "whsec_not base64", "whsec_"):
        assert _refuses(engine, app, secret=wrong)


def test_case_18_a_secret_is_rotated_ten_times_while_the_old_ones_are_in_force(
    engine: Engine, app: str
) -> None:
    made = engine.endpoint(app)
    seen = {engine.svix.endpoint.get_secret(app, made.id).key}

    for _ in range(10):
        seen.add(engine.svix.endpoint.rotate_secret(app, made.id, EndpointSecretRotateIn()).key)

    assert len(seen) == 11
    assert refused(lambda: engine.svix.endpoint.rotate_secret(app, made.id, EndpointSecretRotateIn())) == (
        400,
        "limit_reached",
    )
    assert engine.svix.endpoint.get_secret(app, made.id).key in seen


def test_case_39_lists_come_in_pages_that_lead_on_and_back(engine: Engine, app: str) -> None:
    made = [engine.endpoint(app).id for _ in range(5)][::-1]
    listed = engine.svix.endpoint.list

    first = listed(app, EndpointListOptions(limit=2))
    second = listed(app, EndpointListOptions(limit=2, iterator=first.iterator))
    last = listed(app, EndpointListOptions(limit=2, iterator=second.iterator))
    back = listed(app, EndpointListOptions(limit=2, iterator=last.prev_iterator))
    oldest = listed(app, EndpointListOptions(limit=2, order=Ordering.ASCENDING))

    assert [[one.id for one in page.data] for page in (first, second, last)] == [
        made[:2],
        made[2:4],
        made[4:],
    ]
    assert [page.done for page in (first, second, last)] == [False, False, True]
    assert [one.id for one in back.data] == made[2:4]
    assert [one.id for one in oldest.data] == made[:2:-1]
    assert [one.id for one in listed(app).data] == made


def test_case_39_a_page_has_at_most_250(engine: Engine, app: str) -> None:
    assert engine.svix.endpoint.list(app, EndpointListOptions(limit=250)).done
    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.list(app, EndpointListOptions(limit=251))
    with pytest.raises(HTTPValidationError):
        engine.svix.message.list(app, MessageListOptions(limit=251))


def test_case_40_headers_are_told_but_for_the_sensitive_ones(engine: Engine, app: str) -> None:
    made = engine.endpoint(app)
    endpoint = engine.svix.endpoint
    endpoint.set_headers(
        app,
        made.id,
        EndpointHeadersIn(headers={"x-first": "1", "x-second": "2", "authorization": "Bearer x"}),
    )

    endpoint.patch_headers(app, made.id, EndpointHeadersPatchIn(headers={"x-second": "3"}))

    found = endpoint.get_headers(app, made.id)
    assert (found.headers, found.sensitive) == ({"x-first": "1", "x-second": "3"}, ["authorization"])
    endpoint.set_headers(app, made.id, EndpointHeadersIn(headers={}))
    found = endpoint.get_headers(app, made.id)
    assert (found.headers, found.sensitive) == ({}, [])


@pytest.mark.parametrize(
    "name",
    ["svix-id", "Svix-Signature", "x-amz-date", "user-agent", "Content-Type", "content-length", "a b", ""],
)
def test_case_40_headers_of_the_sender_are_not_for_endpoints_to_set(
    name: str, engine: Engine, app: str
) -> None:
    made = engine.endpoint(app)

    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.set_headers(app, made.id, EndpointHeadersIn(headers={name: "x"}))
    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.patch_headers(app, made.id, EndpointHeadersPatchIn(headers={name: "x"}))

    assert engine.svix.endpoint.get_headers(app, made.id).headers == {}
