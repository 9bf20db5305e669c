"""Messages for a URL that a job named."""

from collections.abc import Callable

import pytest
from svix.webhooks import Webhook

from accounts.models import Organization
from tests.webhooks.conftest import Receiver, deliver, let_time_pass
from webhooks import endpoints
from webhooks.endpoints import NewEndpoint
from webhooks.models import Attempt, Delivery, Status

Send = Callable[..., None]


def test_it_goes_there_alone(endpoint: NewEndpoint, send: Send, receiver: Receiver) -> None:
    send(url=f"{receiver.url}mine")

    deliver()

    assert [arrival.path for arrival in receiver.arrivals] == ["/mine"]


def test_it_is_signed_with_a_secret_of_the_organization(
    organization: Organization, send: Send, receiver: Receiver
) -> None:
    for _ in range(2):
        send(url=receiver.url)

    deliver()

    [secret] = endpoints.signing_secrets(organization=organization)
    assert len(receiver.arrivals) == 2
    for arrival in receiver.arrivals:
        Webhook(secret).verify(arrival.body, arrival.headers)


def test_it_is_retried_like_any_other(send: Send, receiver: Receiver) -> None:
    send(url=receiver.url)
    receiver.answer(500)

    deliver()
    let_time_pass()
    deliver()

    assert [attempt.status_code for attempt in Attempt.objects.order_by("id")] == [500, 200]
    assert Delivery.objects.get().status == Status.SUCCESS


@pytest.mark.parametrize("url", ["mailto:a@example.com", "http://", "//x", "http://exa mple", "http://[::1"])
def test_what_is_not_a_url_is_a_failed_attempt(url: str, send: Send) -> None:
    send(url=url)

    deliver()

    assert Attempt.objects.get().status_code == 0
