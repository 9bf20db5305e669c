"""Files of the exports, for whoever holds a link to one."""

import time
from pathlib import PurePosixPath

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.access import public
from usage import files


@public
@require_safe
@never_cache
def file(request: HttpRequest, name: str) -> HttpResponseBase:
    """A file kept on this machine, by a signed link that has not expired."""
    until = request.GET.get("expires", "")
    if not files.is_signed(name, until, request.GET.get("signature", "")):
        raise Http404
    if int(until) < time.time():
        return HttpResponse("This link has expired: ask for a new one.\n", "text/plain", status=410)
    found = files.open_in_folder(name)
    if found is None:
        raise Http404
    response = FileResponse(found, as_attachment=True, filename=PurePosixPath(name).name)
    if request.method == "HEAD":
        found.close()
        return HttpResponse(headers=response.headers)
    return response
