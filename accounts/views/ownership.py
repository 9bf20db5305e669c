"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.member_page(Permission.ORGANIZATION_TRANSFER)
def offer_ownership(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_VIEW)
def accept_ownership(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_VIEW)
def end_ownership_offer(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
