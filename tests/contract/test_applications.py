"""Applications, ids and idempotency: cases 1–5 and 45 of the conformance table."""

from contextlib import closing

import pytest
from svix.api import EndpointCreateOptions, SvixOptions
from svix.exceptions import HTTPValidationError
from svix.models import ApplicationIn, EndpointIn, EndpointPatch

from tests.contract.conftest import SERVER, Engine, refused
from webhooks.gateway import GuardedSvix

URL = "https://example.com/hook"


def test_case_01_a_second_application_of_a_uid_is_a_conflict(engine: Engine) -> None:
    wanted = ApplicationIn(uid=engine.new_uid(), name="First")
    engine.svix.application.create(wanted)

    assert refused(lambda: engine.svix.application.create(wanted)) == (409, "conflict")


def test_case_02_get_or_create_leaves_the_existing_one_unchanged(engine: Engine) -> None:
    uid = engine.new_uid()
    first = engine.svix.application.create(ApplicationIn(uid=uid, name="First"))

    second = engine.svix.application.get_or_create(ApplicationIn(uid=uid, name="Second"))

    assert (second.id, second.name) == (first.id, "First")
    assert engine.svix.application.get(uid).name == "First"


def test_case_03_the_same_idempotency_key_gets_the_same_object_and_refusals_are_not_remembered(
    engine: Engine, app: str
) -> None:
    key = EndpointCreateOptions(idempotency_key=f"key-{app}")

    with pytest.raises(HTTPValidationError):
        engine.svix.endpoint.create(app, EndpointIn(url="ftp://example.com"), key)
    first = engine.svix.endpoint.create(app, EndpointIn(url=URL), key)
    second = engine.svix.endpoint.create(app, EndpointIn(url=URL), key)

    assert second == first
    assert len(engine.svix.endpoint.list(app).data) == 1


def test_case_04_a_uid_is_an_endpoints_own_in_an_application_until_it_is_deleted(
    engine: Engine, app: str, other_app: str
) -> None:
    first = engine.endpoint(app, uid="billing.1")
    second = engine.endpoint(app)

    assert refused(lambda: engine.endpoint(app, uid="billing.1")) == (409, "conflict")
    assert refused(lambda: engine.svix.endpoint.patch(app, second.id, EndpointPatch(uid="billing.1"))) == (
        409,
        "conflict",
    )
    assert engine.endpoint(other_app, uid="billing.1").uid == "billing.1"
    engine.svix.endpoint.delete(app, first.id)
    assert engine.endpoint(app, uid="billing.1").id != first.id


def test_case_05_id_and_uid_stand_for_each_other_in_paths_but_only_in_their_application(
    engine: Engine, app: str, other_app: str
) -> None:
    made = engine.endpoint(app, uid="billing.1")
    message = engine.send(app, event_id="evt-1")
    application = engine.svix.application.get(app)

    assert engine.svix.application.get(application.id) == application
    assert engine.svix.endpoint.get(application.id, "billing.1") == made
    assert engine.svix.endpoint.get(app, made.id) == made
    assert engine.svix.message.get(app, "evt-1").id == engine.svix.message.get(app, message.id).id
    for call in (
        lambda: engine.svix.endpoint.get(other_app, made.id),
        lambda: engine.svix.endpoint.get(other_app, "billing.1"),
        lambda: engine.svix.endpoint.delete(other_app, made.id),
        lambda: engine.svix.endpoint.get_secret(other_app, made.id),
        lambda: engine.svix.message.get(other_app, message.id),
        lambda: engine.svix.message_attempt.list_by_msg(other_app, message.id),
        lambda: engine.svix.message_attempt.resend(app, message.id, "no-such"),
        lambda: engine.svix.application.get("app_unknown"),
    ):
        assert refused(call) == (404, "not_found")


def test_case_45_a_wrong_token_is_refused(engine: Engine, app: str) -> None:
    if engine.is_embedded:
        pytest.skip("The embedded engine is called in this process alone, and asks for no token")
    stranger = GuardedSvix("wrong", SvixOptions(server_url=SERVER))

    with closing(stranger._httpx_client):
        assert refused(lambda: stranger.application.get(app)) == (401, "authentication_failed")
