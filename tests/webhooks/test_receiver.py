"""The demo's receiver, over HTTP."""

import io
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from django.core.management.base import OutputWrapper
from svix.webhooks import Webhook

from accounts.models import Organization
from config.management.commands.receiver import Customer, Receiver
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint

BODY = '{"type":"job.completed","data":{"job_id":"<b>job-1</b>"}}'

Post = Callable[..., httpx.Response]


@pytest.fixture
def server(
    organization: Organization, endpoint: NewEndpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A receiver that is told of this test's organization: its own threads see no uncommitted rows."""
    known = {
        organization.uid: Customer(organization.name, endpoints.signing_secrets(organization=organization))
    }
    monkeypatch.setattr(Receiver, "_customer", lambda self, uid, **options: known.get(uid))
    with Receiver(("127.0.0.1", 0), OutputWrapper(io.StringIO())) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def post(server: str, organization: Organization, endpoint: NewEndpoint) -> Post:
    """Post as the sender does, but for what is given."""

    def post(
        body: str = BODY,
        secret: str = endpoint.secret,
        path: str = f"/hooks/{organization.uid}",
        **headers: str,
    ) -> httpx.Response:
        now = datetime.now(UTC)
        signed = {
            "svix-id": "msg_1",
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": Webhook(secret).sign("msg_1", now, BODY),
        }
        return httpx.post(f"{server}{path}", content=body, headers=signed | headers)

    return post


def test_a_signed_message_is_verified_and_listed(post: Post, server: str, organization: Organization) -> None:
    assert post().status_code == 200

    [arrival] = httpx.get(f"{server}/received.json").json()["data"]
    assert arrival["verified"]
    assert arrival["organization_id"] == organization.uid
    assert (arrival["event_type"], arrival["job_id"]) == ("job.completed", "<b>job-1</b>")
    assert arrival["message_id"] == "msg_1"


def test_the_page_shows_it_and_reloads_by_itself(post: Post, server: str) -> None:
    post()

    page = httpx.get(server)

    assert "&lt;b&gt;job-1&lt;/b&gt;" in page.text
    assert "Verified" in page.text
    assert page.headers["refresh"]


def test_a_wrong_signature_is_refused_and_listed_as_such(post: Post, server: str) -> None:
    for answer in (
        post(secret="whsec_" + "A" * 32),
        post(body='{"type":"job.failed"}'),
        post(**{"svix-signature": "nonsense"}),
        post(**{"svix-timestamp": "0"}),
    ):
        assert answer.status_code == 401

    arrivals = httpx.get(f"{server}/received.json").json()["data"]
    assert [arrival["verified"] for arrival in arrivals] == [False] * 4


@pytest.mark.parametrize("path", ["/hooks/org_unknown", "/hooks/", "/", "/hooks/../x"])
def test_an_unknown_organization_is_not_found(path: str, post: Post) -> None:
    assert post(path=path).status_code == 404


@pytest.mark.parametrize("name", ["app.css", "shared.js", "app.js", "favicon.svg"])
def test_it_brings_its_own_style(name: str, server: str) -> None:
    assert httpx.get(f"{server}/static/{name}").status_code == 200
    assert httpx.get(f"{server}/static/../manage.py").status_code == 404
