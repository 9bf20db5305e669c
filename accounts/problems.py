"""The one shape in which the API says what went wrong: `{"error": {"type", "code", "message", "param"?}}`."""

from django.http import JsonResponse

TYPES = {401: "authentication", 403: "permission", 404: "not_found", 409: "conflict", 429: "rate_limit"}


def describe(status: int, code: str, message: str, *, param: str | None = None) -> dict[str, dict[str, str]]:
    """The body of an error answer. `param` names the field at fault; the type follows from the status."""
    kind = TYPES.get(status, "server" if status >= 500 else "invalid_request")
    # A message may repeat what was sent, and JSON may hold halves of characters, which no answer can.
    error = {"type": kind, "code": code, "message": message.encode("utf-8", "replace").decode()}
    if param is not None:
        error["param"] = param
    return {"error": error}


def problem(status: int, code: str, message: str, *, param: str | None = None) -> JsonResponse:
    """An error answer, for views that are plain Django."""
    return JsonResponse(describe(status, code, message, param=param), status=status)
