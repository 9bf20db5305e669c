"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.member_page(Permission.API_KEYS_MANAGE)
def leaked_keys(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
