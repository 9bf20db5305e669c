"""Applications and endpoints through the SDK: cases of the conformance table that this engine holds already."""

from typing import Any

import pytest
from svix.api import EndpointListOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import ApplicationIn, EndpointIn, EndpointPatch

from accounts.models import Organization
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix

URL = "https://example.com/hook"


def test_01_a_second_application_of_a_uid_is_a_conflict(organization: Organization) -> None:
    wanted = ApplicationIn(uid=organization.uid, name="First")
    get_svix().application.create(wanted)

    with pytest.raises(HttpError) as error:
        get_svix().application.create(wanted)

    assert (error.value.status_code, error.value.code) == (409, "conflict")


def test_02_get_or_create_leaves_the_existing_one_unchanged(organization: Organization) -> None:
    svix = get_svix()
    first = svix.application.create(ApplicationIn(uid=organization.uid, name="First"))

    second = svix.application.get_or_create(ApplicationIn(uid=organization.uid, name="Second"))

    assert (second.id, second.name) == (first.id, "First")


def test_05_an_application_is_found_by_id_and_by_uid(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix = get_svix()

    by_uid = svix.application.get(organization.uid)

    assert svix.application.get(by_uid.id) == by_uid


def test_05_another_applications_endpoint_is_not_found(
    other_organization: Organization, endpoint: NewEndpoint
) -> None:
    svix = get_svix()
    svix.application.create(ApplicationIn(uid=other_organization.uid, name="Other"))

    with pytest.raises(HttpError) as error:
        svix.endpoint.get(other_organization.uid, endpoint.endpoint.id)

    assert (error.value.status_code, error.value.code) == (404, "not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {"event_types": []},
        {"event_types": ["job.unheard_of"]},
        {"channels": []},
        {"channels": [str(n) for n in range(11)]},
        {"channels": ["no spaces"]},
        {"url": "ftp://example.com"},
        {"url": "https://"},
        {"url": "http://[::1"},
        {"url": "http://example.com:0/"},
        {"url": "https://me:secret@example.com/"},
        {"url": "https://example.com/a b"},
        {"url": "https://example.com/\x00"},
        {"description": "\x00"},
        {"throttle_rate": 0},
    ],
)
def test_06_07_09_what_is_wrong_with_an_endpoint_is_a_422(
    fields: dict[str, Any], organization: Organization, endpoint: NewEndpoint
) -> None:
    with pytest.raises(HTTPValidationError) as error:
        get_svix().endpoint.create(organization.uid, EndpointIn(**({"url": URL} | fields)))

    assert error.value.status_code == 422
    assert error.value.detail[0].loc[0] == "body"


def test_09_a_private_address_is_taken(organization: Organization, endpoint: NewEndpoint) -> None:
    made = get_svix().endpoint.create(organization.uid, EndpointIn(url="http://10.0.0.1/hook"))

    assert made.url == "http://10.0.0.1/hook"


def test_10_a_patch_keeps_what_is_absent_and_null_clears(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix, uid = get_svix(), endpoint.endpoint.id
    svix.endpoint.patch(organization.uid, uid, EndpointPatch(event_types=["job.failed"], channels=["a"]))

    kept = svix.endpoint.patch(organization.uid, uid, EndpointPatch(description="Billing"))
    cleared = svix.endpoint.patch(organization.uid, uid, EndpointPatch(event_types=None, channels=None))

    assert (kept.event_types, kept.channels, kept.description) == (["job.failed"], ["a"], "Billing")
    assert (cleared.event_types, cleared.channels, cleared.description) == (None, None, "Billing")


def test_12_a_generated_secret_is_24_bytes_in_base64(endpoint: NewEndpoint) -> None:
    assert endpoint.secret.startswith("whsec_")
    assert len(endpoint.secret) == len("whsec_") + 32


def test_39_lists_come_in_pages(organization: Organization, endpoint: NewEndpoint) -> None:
    svix = get_svix()
    made = [svix.endpoint.create(organization.uid, EndpointIn(url=URL)).id for _ in range(2)]

    first = svix.endpoint.list(organization.uid, EndpointListOptions(limit=2))
    rest = svix.endpoint.list(organization.uid, EndpointListOptions(limit=2, iterator=first.iterator))

    assert [[item.id for item in page.data] for page in (first, rest)] == [made[::-1], [endpoint.endpoint.id]]
    assert (first.done, rest.done) == (False, True)


@pytest.mark.parametrize("limit", [0, 251])
def test_39_a_page_has_a_limit(limit: int, organization: Organization, endpoint: NewEndpoint) -> None:
    with pytest.raises(HTTPValidationError):
        get_svix().endpoint.list(organization.uid, EndpointListOptions(limit=limit))
