"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.member_page(Permission.ORGANIZATION_VIEW)
def personal_keys(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_VIEW)
def create_personal_key(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
