"""Views that do nothing, alone and behind what others check keys with."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from knox.auth import TokenAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView
from rest_framework_api_key.permissions import HasAPIKey


@csrf_exempt
def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("{}", content_type="application/json")


class Nothing(APIView):
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []
    throttle_classes: list[Any] = []

    def post(self, request: Request) -> Response:
        return Response({})


class KeyThrottle(SimpleRateThrottle):
    """At its limit and lenient: it reads what a key has called in the last minute, and lets it call all the same.

    With a limit that is never reached it would write as well, and a longer list each time.
    """

    rate = "600/min"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"throttle:{request.META['HTTP_AUTHORIZATION'].partition(' ')[2]}"

    def throttle_failure(self) -> bool:
        return True


class WithApiKey(Nothing):
    permission_classes = [HasAPIKey]
    throttle_classes = [KeyThrottle]


class WithKnox(Nothing):
    authentication_classes = [TokenAuthentication]
    permission_classes = [IsAuthenticated]
