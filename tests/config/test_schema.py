"""The OpenAPI description: valid, without warnings, complete, and readable without the internet."""

import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

pytestmark = pytest.mark.django_db

Json = dict[str, Any]


@pytest.fixture
def schema() -> Json:
    with GENERATOR_STATS.silence():
        GENERATOR_STATS.reset()
        described: Json = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        complaints = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert complaints == []
    return described


def test_description_is_valid_openapi(schema: Json) -> None:
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/jobs"),
        ("get", "/api/v1/job/{job_id}"),
        ("get", "/api/v1/usage/export"),
        ("get", "/api/v1/api-keys/whoami"),
        ("post", "/api/v1/gateway/verify"),
        ("post", "/api/v1/gateway/jobs"),
    ],
)
def test_every_endpoint_is_described(schema: Json, method: str, path: str) -> None:
    operation = schema["paths"][path][method]
    answer = operation["responses"]["200"]["content"]["application/json"]

    assert operation["summary"] and operation["description"]
    assert {"ApiKey": []} in operation["security"]
    assert {"400", "401", "403", "429"} <= set(operation["responses"])
    assert "example" in answer or "examples" in answer


def test_keys_are_bearer_tokens(schema: Json) -> None:
    scheme = schema["components"]["securitySchemes"]["ApiKey"]

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_every_reference_leads_somewhere(schema: Json) -> None:
    references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))

    assert references <= set(schema["components"]["schemas"])


def test_schema_is_served_to_anybody() -> None:
    response = Client().get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})

    assert response.status_code == 200
    assert response.json()["openapi"].startswith("3.1")


def test_docs_load_nothing_from_elsewhere() -> None:
    page = Client().get("/api/docs/").content.decode()
    script = Client().get("/api/docs/", {"script": ""}).content.decode()

    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    files = [address.removeprefix("/static/") for address in addresses if address.startswith("/static/")]
    assert all(address.startswith("/") for address in addresses)
    assert len(files) == 4 and all(finders.find(file) for file in files)
    assert "://" not in script
    assert re.search(r'"validatorUrl":\s*null', script)
