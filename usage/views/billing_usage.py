"""The air-gapped billing export, for whoever carries the files: a plain view, called with a service key."""

import logging
from typing import Annotated

import msgspec
from django.http import HttpRequest, HttpResponse, JsonResponse
from msgspec import Meta, Struct

from accounts import authentication
from accounts.access import client_ip
from accounts.audit import Actor
from accounts.permissions import ServicePermission
from accounts.problems import problem
from usage import billing_export
from usage.gateway import TooLarge, Unreadable, field_at_fault, read_body, service_key

logger = logging.getLogger(__name__)

_MAX_BODY = 16 * 1024


class ExportRequest(Struct, forbid_unknown_fields=True):
    """The body. `count` is the most records to write to one file."""

    count: Annotated[int, Meta(ge=1, le=billing_export.MAX_COUNT)] = billing_export.DEFAULT_COUNT
    delete: bool = False


_decode = msgspec.json.Decoder(ExportRequest).decode


@service_key(ServicePermission.BILLING_USAGE_EXPORT)
def billing_usage(request: HttpRequest) -> HttpResponse:
    """Export the oldest usage to a file and answer a link to it, or null when there is nothing left.

    The link to the file's manifest is in the header Link.
    """
    try:
        asked = _decode(read_body(request, _MAX_BODY) or b"{}")
    except TooLarge:
        return problem(413, "too_large", "The body is larger than 16 KiB.")
    except (Unreadable, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return problem(
            400,
            "invalid_body",
            f'The body must be a JSON object such as {{"count": 1000000, "delete": true}}: {error}',
            param=field_at_fault(error),
        )
    key = authentication.usable_key(authentication.bearer(request.headers.get("Authorization", "")))
    if key is None:  # this process knew it from before it ended, and what follows deletes
        return problem(401, "invalid_api_key", authentication.BAD_KEY)
    try:
        file = billing_export.export(
            count=asked.count, delete=asked.delete, actor=Actor(None, ip=client_ip(request), api_key=key)
        )
    except billing_export.SwitchedOff as error:
        return problem(400, "billing_usage_off", str(error))
    except billing_export.AlreadyRunning as error:
        response = problem(409, "export_running", str(error))
        response["Retry-After"] = "10"
        return response
    except billing_export.NotStored:
        logger.exception("a billing export was not stored")
        response = problem(
            503, "not_stored", "The storage does not take the file. Nothing was deleted: try again."
        )
        response["Retry-After"] = "10"
        return response
    if file is None:
        return JsonResponse({"presigned_url": None, "num_records": 0})
    links = billing_export.links(file)
    return JsonResponse(
        {"presigned_url": links.file, "num_records": file.num_records},
        headers={"Link": f'<{links.manifest}>; rel="describedby"'},
    )
