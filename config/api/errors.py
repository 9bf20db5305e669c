"""Every way in which the API says no, in the shape of `accounts.problems`; pages get HTML, and the staff their own."""

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import set_rollback

from accounts.authentication import BAD_KEY
from accounts.problems import describe, problem
from config.backoffice import refused

# What is under these speaks JSON, also where no view was found.
PROGRAMS = ("/api/", "/billing-usage")


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """Answer for an exception of an API view; None leaves it to `server_error`."""
    headers: dict[str, str] = {}
    known = _known(exception)
    if known is None:
        return None
    if getattr(known, "auth_header", None):
        headers["WWW-Authenticate"] = known.auth_header  # type: ignore[attr-defined]
    if getattr(known, "wait", None):
        headers["Retry-After"] = str(known.wait)  # type: ignore[attr-defined]
    set_rollback()
    return Response(_body(known), status=known.status_code, headers=headers)


class Unavailable(exceptions.APIException):
    """The database does not answer."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "The database does not answer. Try again."
    wait = 1


def _known(exception: Exception) -> exceptions.APIException | None:
    """The REST framework's own exception for this one, if it is any caller's business."""
    match exception:
        case exceptions.APIException():
            return exception
        case Http404():
            ours = [text for text in exception.args if "matches the given query" not in str(text)]
            return exceptions.NotFound(*ours or ["There is nothing with this id."])
        case PermissionDenied():
            return exceptions.PermissionDenied(*exception.args)
        case ValidationError():  # of a domain function, with a message for each field
            return exceptions.ValidationError(as_serializer_error(exception))
        case DataError():  # text with NUL, a number that fits no column: the caller sent it
            return exceptions.ParseError("A value cannot be stored or compared as it is.", "invalid_value")
        case OperationalError():
            return Unavailable()
    return None


def _body(exception: exceptions.APIException) -> dict[str, dict[str, str]]:
    if exception.status_code == 401:
        # Missing, malformed, unknown, expired: one answer, from which nothing can be learned about keys.
        return describe(401, "invalid_api_key", BAD_KEY)
    param, detail = _first(exception.detail)
    return describe(exception.status_code, detail.code or "error", str(detail), param=param)


def _first(detail: Any, param: str | None = None) -> tuple[str | None, exceptions.ErrorDetail]:
    """The first complaint in what may be a tree of fields and lists, with the name of its field."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        # Numbers are places in a list, which its own name says better.
        outer = param if isinstance(name, int) or name == "non_field_errors" else str(name)
        return _first(inner, outer)
    if isinstance(detail, list):
        return _first(detail[0], param)
    return param, detail


def _speaks_json(request: HttpRequest) -> bool:
    return request.path.startswith(PROGRAMS)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _speaks_json(request):
        return problem(400, "bad_request", "The request cannot be read.")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _speaks_json(request):
        return problem(403, "permission_denied", str(exception) or "You may not do this.")
    if refused.is_for(request):
        return refused.forbidden(request, str(exception))
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _speaks_json(request):
        return problem(404, "not_found", "There is nothing at this address.")
    if refused.is_for(request):
        return refused.missing(request)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if _speaks_json(request):
        return problem(500, "server_error", "Something went wrong on our side. It is in our log.")
    return defaults.server_error(request)
