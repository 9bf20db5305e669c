"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.public
def two_factor_challenge(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
