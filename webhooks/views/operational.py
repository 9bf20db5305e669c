"""Where a Svix server tells what happens to endpoints."""

from http import HTTPStatus

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from svix.exceptions import HttpError, HTTPValidationError

from accounts.access import public
from accounts.problems import problem
from webhooks import operational_inbox

MOST = 256 * 1024  # bytes; an event has some hundred


@public
@csrf_exempt  # the server posts it, and signs
def receive(request: HttpRequest) -> HttpResponse:
    """Take an operational webhook of the Svix server."""
    if not settings.SVIX_OPERATIONAL_SECRET:
        raise Http404
    if request.method != "POST":
        response: HttpResponse = problem(405, "method_not_allowed", "Use POST here.")
        response["Allow"] = "POST"
        return response
    body = request.read(MOST + 1)
    if len(body) > MOST:
        return problem(413, "too_large", f"The body is larger than {MOST // 1024} KiB.")
    try:
        operational_inbox.take(body, request.headers)
    except operational_inbox.Forged:
        return problem(401, "invalid_signature", "This is not signed with our secret, or was so long ago.")
    except operational_inbox.Unreadable:
        return problem(400, "invalid_body", "This is not an operational webhook.")
    except (HttpError, HTTPValidationError):
        return problem(503, "unavailable", "The Svix server cannot be asked about it now. Send it again.")
    return HttpResponse(status=HTTPStatus.NO_CONTENT)
