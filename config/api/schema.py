"""What the OpenAPI description says beyond what the API's views know of themselves."""

from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension

from accounts.problems import describe
from usage import counted
from usage.gateway import VerifyRequest
from usage.reports_in import JobReport, Rejected
from usage.views.billing_usage import ExportRequest

Json = dict[str, Any]


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> Json:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An organization key or a personal key; the gateway takes service keys.",
        }


def _object(properties: Json, *, optional: tuple[str, ...] = ()) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _json(schema: Json, example: Json | None = None) -> Json:
    media: Json = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {"application/json": media}


TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
INTEGER: Json = {"type": "integer"}

ERROR = _object(
    {
        "error": _object(
            {
                "type": {
                    "type": "string",
                    "enum": [
                        "invalid_request",
                        "authentication",
                        "permission",
                        "not_found",
                        "conflict",
                        "rate_limit",
                        "server",
                    ],
                },
                "code": TEXT,
                "message": TEXT,
                "param": {**TEXT, "description": "The field or parameter at fault, if it is one."},
            },
            optional=("param",),
        )
    }
)
_ERRORS: dict[int, tuple[str, Json]] = {
    400: (
        "A parameter or the body is not as it must be.",
        describe(400, "invalid", "A valid integer is required.", param="limit"),
    ),
    401: ("No key, or not a valid one.", describe(401, "invalid_api_key", "Missing or invalid API key.")),
    403: (
        "The key lacks the permission, is used from outside its networks, or the organization is not its own.",
        describe(403, "permission_denied", "You are not a member of this organization."),
    ),
    404: ("There is nothing with this id.", describe(404, "not_found", "There is no job with this id.")),
    409: (
        "As things are now, it cannot be done.",
        describe(409, "conflict", "The key is revoked."),
    ),
    413: ("The body is too large.", describe(413, "too_large", "The body is larger than 64 MiB.")),
    429: (
        "Too many requests: wait as many seconds as Retry-After says.",
        describe(429, "throttled", "Request was throttled."),
    ),
    503: (
        "The database does not answer: send the same again after as many seconds as Retry-After says.",
        describe(503, "unavailable", "The database does not answer."),
    ),
}


def _errors(*statuses: int) -> Json:
    return {
        str(status): {
            "description": _ERRORS[status][0],
            "content": _json({"$ref": "#/components/schemas/Error"}, _ERRORS[status][1]),
        }
        for status in statuses
    }


def add_errors(result: Json, **options: object) -> Json:
    """Every call may be refused in the same shape."""
    result["components"]["schemas"]["Error"] = ERROR
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            statuses = [400, 401, 403, 429, 503] + [404] * ("{" in path)
            if method != "get" and "gateway" not in operation["tags"]:
                statuses.append(409)
            operation["responses"] = dict(sorted({**_errors(*statuses), **operation["responses"]}.items()))
    return result


_VERIFY_ANSWER: Json = {
    "valid": True,
    "code": "VALID",
    "organization_id": "org_7bUq1sVdE3kPzHx9RwGm",
    "api_key_id": "key_2nXw8rTfZ0aYcQ5LbKdM",
    "environment": "production",
    "scopes": ["jobs", "usage", "webhooks"],
    "plan": "pro",
    "rate_limit": {"limit": 100, "remaining": 99, "reset": 1781775000},
    "credits": {"remaining": 99880.5},
}
_REPORT: Json = {
    "job_id": "0b7c0a52-4c1c-4f5e-9a3c-0f6f5f0f9d55",
    "api_key_id": "key_2nXw8rTfZ0aYcQ5LbKdM",
    "type": "Parse",
    "status": "Completed",
    "created_at": "2026-06-18T09:30:00Z",
    "duration": 3.42,
    "num_pages": 12,
    "region": "eu",
    "config": {"table_output_format": "html"},
    "usage": [
        {
            "idempotency_key": "0b7c0a52:1",
            "product": "parse",
            "feature": "standard",
            "file_type": "pdf",
            "pages": 12,
            "timestamp": "2026-06-18T09:30:03Z",
        }
    ],
}


def _nullable(schema: Json) -> Json:
    return {"oneOf": [schema, {"type": "null"}]}


def add_gateway(result: Json, **options: object) -> Json:
    """Describe the gateway, whose views are plain Django, from the shapes it decodes with."""
    (verify, report, rejected, export), components = msgspec.json.schema_components(
        [VerifyRequest, JobReport, Rejected, ExportRequest], ref_template="#/components/schemas/{name}"
    )
    result["components"]["schemas"].update(components)
    verdict = {
        "valid": {"type": "boolean"},
        "code": {"type": "string", "enum": list(counted.CODES)},
        "organization_id": _nullable(TEXT),
        "api_key_id": _nullable(TEXT),
        "environment": _nullable(TEXT),
        "scopes": _nullable({"type": "array", "items": TEXT}),
        "plan": _nullable(TEXT),
        "rate_limit": _nullable(
            _object(
                {
                    "limit": INTEGER,
                    "remaining": INTEGER,
                    "reset": {**INTEGER, "description": "In unix seconds."},
                }
            )
        ),
        "credits": _nullable(_object({"remaining": _nullable(NUMBER)})),
    }
    outcome = {
        "accepted": INTEGER,
        "duplicates": INTEGER,
        "rejected": {"type": "array", "items": rejected},
    }
    result["paths"]["/api/v1/gateway/verify"] = {
        "post": {
            "operationId": "verify_key",
            "summary": "Verify a key",
            "description": "Whether a customer's key may call now, and if not, why. When the code is NOT_FOUND, "
            "the rest is null. `cost` is in credits; it is checked, not reserved. `ip` is where the customer's call "
            "came from: a key that is kept to certain networks is FORBIDDEN without it. `rate_limit` tells of the "
            "organization's limit or the key's own, whichever has less left.",
            "tags": ["gateway"],
            "security": [{"ApiKey": []}],
            "requestBody": {
                "required": True,
                "content": _json(
                    verify, {"key": "ch_production_…", "product": "parse", "cost": 12, "ip": "203.0.113.7"}
                ),
            },
            "responses": {
                "200": {"description": "The verdict.", "content": _json(_object(verdict), _VERIFY_ANSWER)},
                **_errors(413),
            },
        }
    }
    result["paths"]["/api/v1/gateway/jobs"] = {
        "post": {
            "operationId": "report_jobs",
            "summary": "Report jobs",
            "description": "Up to 10,000 job reports at once, as JSON or one a line; gzip is accepted, up to 64 MiB "
            "unpacked. Reporting the same again changes nothing. A bad report is rejected and harms no other. "
            "The answer counts jobs.",
            "tags": ["gateway"],
            "security": [{"ApiKey": []}],
            "requestBody": {
                "required": True,
                "content": {
                    **_json(_object({"jobs": {"type": "array", "items": report}}), {"jobs": [_REPORT]}),
                    "application/x-ndjson": {"schema": report},
                },
            },
            "responses": {
                "200": {
                    "description": "What became of the reports.",
                    "content": _json(
                        _object(outcome),
                        {
                            "accepted": 1,
                            "duplicates": 0,
                            "rejected": [
                                {
                                    "index": 1,
                                    "code": "unknown_api_key",
                                    "message": "`api_key_id` names no key of an organization.",
                                }
                            ],
                        },
                    ),
                },
                **_errors(413),
            },
        }
    }
    result["paths"]["/billing-usage"] = {
        "post": {
            "operationId": "export_billing_usage",
            "summary": "Export usage for billing",
            "description": "Writes the oldest usage that is stored for billing to a gzipped CSV with the columns "
            "idempotency_key, type, num_pages, attributes, timestamp; answers a link to it that works for six days, "
            "or null when nothing is left. With `delete`, exactly the exported records are deleted once the file is "
            "stored and read back. 409 while another export runs; 400 where STORE_USAGE_FOR_BILLING is off.",
            "tags": ["gateway"],
            "security": [{"ApiKey": []}],
            "requestBody": {"content": _json(export, {"count": 1_000_000, "delete": True})},
            "responses": {
                "200": {
                    "description": "The file, if there was anything to write.",
                    "content": _json(
                        _object({"presigned_url": _nullable(TEXT), "num_records": INTEGER}),
                        {
                            "presigned_url": "https://…/usage_for_billing/000001-….csv.gz?…",
                            "num_records": 1000,
                        },
                    ),
                },
                **_errors(409, 413),
            },
        }
    }
    return result
