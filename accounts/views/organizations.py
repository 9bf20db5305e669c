"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.signed_in
def create_organization(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_VIEW)
def settings(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_MANAGE)
def security_settings(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_DELETE)
def delete_organization(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
