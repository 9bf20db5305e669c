"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.public
def invitation(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.public
def decline_invitation(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
