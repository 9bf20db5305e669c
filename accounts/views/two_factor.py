"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.signed_in
def two_factor(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def set_up_two_factor(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def disable_two_factor(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def recovery_codes(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
