"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access


@access.public
def unsubscribe(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
