"""Asking for an address, and what became of it as far as access goes."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from tests.architecture.routes import Route

# Calls that look at what is sent before they look at who sends it.
BODIES = {("api/v1/api-keys", "POST"): '{"name": "checkout"}'}


def send(client: Client, route: Route, method: str, address: str, **headers: str) -> HttpResponse:
    """Send a request with as good as nothing in it."""
    content_type, body = "application/x-www-form-urlencoded", ""
    if route.is_of_the_api:
        content_type, body = "application/json", BODIES.get((route.path, method), "{}")
    response: Any = client.generic(method, address, body, content_type, headers=headers)
    if response.streaming:
        b"".join(response)  # a file is closed at its end
    return response


def ask(client: Client, route: Route, method: str, address: str, **headers: str) -> str:
    """What becomes of a request. What it does is undone."""
    with transaction.atomic():
        response = send(client, route, method, address, **headers)
        transaction.set_rollback(True)
    return verdict(response)


def verdict(response: HttpResponse) -> str:
    if response.status_code == 302 and "/login/" in response["Location"]:
        return "sign in"
    if response.status_code >= 500:
        return f"error {response.status_code}"
    return {401: "no key", 403: "refused", 404: "not there"}.get(response.status_code, "in")
