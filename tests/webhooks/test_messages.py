"""Messages through the SDK: cases 22–24 of the conformance table."""

import pytest
from svix.api import MessageCreateOptions, MessageGetOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import ApplicationIn, MessageIn

from accounts.models import Organization
from webhooks.endpoints import NewEndpoint
from webhooks.gateway import get_svix
from webhooks.models import Message

MESSAGE = MessageIn(event_type="job.completed", event_id="evt_1", payload={"data": {"job_id": "job-1"}})


def test_22_an_event_id_is_taken_once_in_an_application(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    get_svix().message.create(organization.uid, MESSAGE)

    with pytest.raises(HttpError) as error:
        get_svix().message.create(organization.uid, MESSAGE)

    assert error.value.status_code == 409
    assert Message.objects.count() == 1


def test_23_a_message_to_an_unknown_application_is_not_found(organization: Organization) -> None:
    with pytest.raises(HttpError) as error:
        get_svix().message.create(organization.uid, MESSAGE)

    assert (error.value.status_code, error.value.code) == (404, "not_found")


def test_23_a_message_may_bring_its_application(organization: Organization) -> None:
    message = MESSAGE.model_copy(update={"application": ApplicationIn(uid=organization.uid, name="N")})

    get_svix().message.create(organization.uid, message)

    assert get_svix().application.get(organization.uid).name == "N"


def test_23_but_not_another_one(organization: Organization, other_organization: Organization) -> None:
    message = MESSAGE.model_copy(update={"application": ApplicationIn(uid=other_organization.uid, name="N")})

    with pytest.raises(HTTPValidationError):
        get_svix().message.create(organization.uid, message)


def test_24_the_payload_comes_back_only_with_content(
    organization: Organization, endpoint: NewEndpoint
) -> None:
    svix = get_svix()

    without = svix.message.create(organization.uid, MESSAGE, MessageCreateOptions(with_content=False))
    with_it = svix.message.get(organization.uid, without.id, MessageGetOptions(with_content=True))

    assert without.payload == {}
    assert with_it.payload == MESSAGE.payload
    assert with_it.event_id == "evt_1"
