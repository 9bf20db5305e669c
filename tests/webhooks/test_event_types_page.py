"""The catalogue of event types is for everybody."""

from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from webhooks.events import EVENT_TYPES


def test_strangers_read_of_every_type(client: Client, db: None) -> None:
    text = client.get(reverse("webhooks:event_types")).content.decode()

    for event_type in EVENT_TYPES.values():
        assert f'id="{event_type.name}"' in text
        assert escape(event_type.description.split(".")[0]) in text


def test_each_type_shows_its_fields_and_a_payload(client: Client, db: None) -> None:
    text = client.get(reverse("webhooks:event_types")).content.decode()

    assert "The job&#x27;s id, as the API answered it." in text
    assert "&quot;type&quot;: &quot;job.completed&quot;" in text
