"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.signed_in
def notifications(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def read_notifications(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def notification_preferences(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def open_notification(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
