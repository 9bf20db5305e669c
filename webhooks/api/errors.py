"""How the API says what Svix said."""

import logging

from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import APIView
from svix.exceptions import HttpError, HTTPValidationError

from accounts.api.base import Conflict
from webhooks.endpoints import refusals, sentence

logger = logging.getLogger(__name__)
# What this API calls by another name than Svix does.
_NAMES = {"iterator": "cursor"}


class Unavailable(exceptions.APIException):
    status_code = 503
    default_code = "unavailable"
    default_detail = (
        "Webhooks cannot be read or changed at the moment. Try again; messages are kept meanwhile."
    )
    wait = 5


class SvixView(APIView):
    """A view of the API whose errors may be the SDK's."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, HttpError | HTTPValidationError):
            exc = _told(exc)
        return super().handle_exception(exc)


def _told(error: HttpError | HTTPValidationError) -> exceptions.APIException:
    status = error.status_code
    if status >= 500 or status in (401, 403, 429):
        logger.error("Svix answered %s: %s", status, error)
        return Unavailable()
    if status == 404:
        return exceptions.NotFound("There is nothing with this id.")
    if status == 409:
        return Conflict(sentence(error))
    if isinstance(error, HTTPValidationError):
        found = {_NAMES.get(name, name): text for name, text in refusals(error).items() if name}
        return exceptions.ValidationError(found or sentence(error))
    return exceptions.ValidationError(sentence(error))
