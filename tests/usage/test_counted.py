"""What is counted of verify and of ingest, whichever way a call is answered."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey
from tests.usage.counts import count
from usage import fast_path, known_keys

URL = "/api/v1/gateway/verify"
Key = tuple[ApiKey, str]


def calls(code: str) -> float:
    return count("verify_seconds_count", code=code)


@pytest.mark.parametrize("code", ["VALID", "NOT_FOUND"])
def test_an_answer_of_the_view_is_counted_by_its_code(
    data_plane: Client, organization_key: Key, code: str
) -> None:
    key = organization_key[1] if code == "VALID" else "unknown-key"
    before = calls(code)

    data_plane.post(URL, {"key": key}, content_type="application/json")

    assert calls(code) == before + 1


def test_an_answer_ahead_of_the_view_is_counted_alike(organization_key: Key) -> None:
    body = b'{"key": "%s"}' % organization_key[1].encode()
    known_keys.forget()
    before, kept, read = calls("VALID"), *(count("verify_keys_total", source=it) for it in ("kept", "read"))

    for _ in range(3):
        fast_path._answer(body)

    assert calls("VALID") == before + 3
    assert count("verify_keys_total", source="read") == read + 1
    assert count("verify_keys_total", source="kept") == kept + 2


def test_reports_are_counted_by_what_became_of_them(rates: None, post_jobs: Any, job: Any) -> None:
    outcomes = ("accepted", "duplicate", "rejected")
    before = [count("ingest_reports_total", outcome=outcome) for outcome in outcomes]
    batches, records = count("ingest_batch_seconds_count"), count("ingest_records_total")

    report = job("a")
    post_jobs(report, report, job("b", api_key_id="key_unknown"))

    after = [count("ingest_reports_total", outcome=outcome) for outcome in outcomes]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1]
    assert count("ingest_records_total") == records + 1
    assert count("ingest_batch_seconds_count") == batches + 1
