"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.signed_in
def sessions(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def end_other_sessions(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.signed_in
def end_session(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
