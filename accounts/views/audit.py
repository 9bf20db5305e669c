"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.member_page(Permission.AUDIT_VIEW)
def audit(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.AUDIT_VIEW)
def audit_csv(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
