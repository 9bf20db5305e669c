"""How often the REST API may be called."""

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import ApiKey
from usage import limits

if TYPE_CHECKING:  # importing it for real would import this module again: the framework's settings name it
    from rest_framework.views import APIView

REQUESTS_PER_MINUTE = 600


class ApiThrottle(BaseThrottle):
    """600 requests a minute for each key, or each person where the pages' session is used."""

    taken: limits.Taken | None = None

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if isinstance(request.auth, ApiKey):
            name = f"api:key:{request.auth.pk}"
        elif request.user:
            name = f"api:user:{request.user.pk}"
        else:
            return True
        self.taken = limits.take(name, limit=REQUESTS_PER_MINUTE)
        return self.taken.allowed

    def wait(self) -> float | None:
        return self.taken.wait if self.taken else None
