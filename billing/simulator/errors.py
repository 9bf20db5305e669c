"""Errors in the shape, and with the status, that Stripe gives them."""

from typing import Any


class StripeError(Exception):
    """An answer other than 200. `kept` says that what was written until then stays, as after a declined card."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        kept: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.error = {"message": message, "type": kind, "code": code, "param": param, **more}

    def body(self) -> dict[str, Any]:
        return {"error": {name: value for name, value in self.error.items() if value is not None}}


def no_such(kind: str, id: str, *, param: str | None = None) -> StripeError:
    """Return the error for an unknown id: 404 where the path names it, 400 where a parameter does."""
    label = kind.replace("_", " ") if kind != "payment_method" else "PaymentMethod"
    return StripeError(
        f"No such {label}: '{id}'",
        status=400 if param else 404,
        code="resource_missing",
        param=param or "id",
    )


def missing(param: str) -> StripeError:
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def unsupported(what: str) -> StripeError:
    return StripeError(f"The simulator does not support {what}.", status=501, kind="api_error")


def only(given: dict[str, Any], names: str, param: str) -> None:
    """Refuse what Stripe has inside of a parameter and the simulator lacks, so that it is never ignored."""
    for name in given:
        if name not in names.split():
            raise unsupported(f"the parameter {param}[{name}]")
