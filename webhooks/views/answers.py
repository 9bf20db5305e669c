"""What a page shows when Svix says no, or nothing at all."""

import logging
from collections.abc import Callable
from functools import wraps

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from svix.exceptions import HttpError, HTTPValidationError

from webhooks.endpoints import sentence

logger = logging.getLogger(__name__)


def asks_svix(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Turn the errors of the SDK that a page does not handle itself into a page; what is unknown there is 404."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except (HttpError, HTTPValidationError) as error:
            if error.status_code == 404:
                raise Http404 from None
            return _refused(request, error)

    return guarded


def _refused(request: HttpRequest, error: HttpError | HTTPValidationError) -> HttpResponse:
    """Say what was not done, and what to do about it. A server's own trouble is for our log, not for customers."""
    is_ours = error.status_code >= 500 or error.status_code in (401, 403)
    if is_ours:
        logger.error("Svix answered %s to %s: %s", error.status_code, request.path, error)
    return render(
        request,
        "webhooks/refused.html",
        {"problem": "" if is_ours else sentence(error)},
        status=503 if is_ours else 400,
    )
