import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiKey
from usage.models import DailyUsage, Entitlement, Job, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

TRACE = b"""TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,1396,100
2023-11-16 18:15:48.2224670,0,0
not a request
2023-11-16 18:16:51.3910170,501,150
"""

Replay = Callable[..., str]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_bytes(TRACE)
    return path


@pytest.fixture
def replay(
    live_server: LiveServer,
    trace: Path,
    service_key: tuple[ApiKey, str],
    organization_key: tuple[ApiKey, str],
    rates: None,
) -> Replay:
    """Replay the trace for the organization, and return all that is printed."""

    def run(*options: str) -> str:
        output = StringIO()
        call_command(
            "replay",
            str(trace),
            *options,
            base_url=live_server.url,
            gateway_key=service_key[1],
            api_key=organization_key[1],
            stdout=output,
            stderr=output,
        )
        return output.getvalue()

    return run


def jobs() -> list[tuple[str, datetime]]:
    return list(Job.objects.order_by("job_id").values_list("job_id", "created_at"))


def test_every_request_becomes_a_parse_job(replay: Replay) -> None:
    replay()

    found = Job.objects.order_by("created_at").values_list("type", "status", "num_pages", "duration")
    assert list(found) == [
        ("Parse", "Completed", 1, 0.88),
        ("Parse", "Completed", 1, 0.0),
        ("Parse", "Completed", 3, 2.0),
        ("Parse", "Completed", 2, 3.0),
    ]


def test_sent_and_exported_totals_are_printed_and_equal(replay: Replay) -> None:
    output = replay()

    totals = [line.split() for line in output.splitlines() if line.startswith(("as sent", "exported"))]
    assert totals == [["as", "sent", "4", "7", "7"], ["exported", "4", "7", "7"]]
    assert "Equal." in output
    assert "Verdicts: VALID 4" in output
    assert "4 accepted, 0 duplicates, 0 rejected; 1 malformed lines skipped" in output


def test_a_malformed_line_is_named(replay: Replay) -> None:
    output = replay()

    assert "Line 5 is skipped: 1 columns instead of 3." in output


def test_the_same_file_again_adds_nothing(replay: Replay) -> None:
    replay()
    before = jobs()

    output = replay()

    assert jobs() == before
    assert UsageRecord.objects.count() == 4
    assert "0 accepted, 4 duplicates" in output
    assert "Equal." in output


def test_timestamps_are_the_trace_s_own(replay: Replay) -> None:
    replay()

    first = Job.objects.earliest("created_at")
    assert first.created_at == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)


def test_now_shifts_the_last_end_to_now(replay: Replay) -> None:
    replay("--now")

    first, last = Job.objects.earliest("created_at"), Job.objects.latest("created_at")
    end = last.created_at + timedelta(seconds=last.duration or 0)
    assert timedelta() < datetime.now(UTC) - end < timedelta(seconds=60)
    assert last.created_at - first.created_at == timedelta(seconds=64, microseconds=710427)


@pytest.mark.parametrize(("first", "second"), [(["--now"], ["--now"]), ([], ["--now"]), (["--now"], [])])
def test_a_later_shift_is_that_of_the_first_time(replay: Replay, first: list[str], second: list[str]) -> None:
    replay(*first)
    before = jobs()

    output = replay(*second)

    assert jobs() == before
    assert "was replayed for this organization before" in output
    assert "0 accepted, 4 duplicates, 0 rejected" in output
    assert "Equal." in output


def test_jobs_are_reported_whatever_the_verdict(replay: Replay) -> None:
    Entitlement.objects.update(may_call=False)

    output = replay()

    assert "Verdicts: SUSPENDED 4" in output
    assert Job.objects.count() == 4


def test_usage_of_others_does_not_disturb_the_comparison(
    replay: Replay, post_jobs: Callable[..., object], job: Callable[..., object]
) -> None:
    post_jobs(job())

    output = replay("--now")

    assert "Equal." in output


def test_a_difference_ends_with_an_error(replay: Replay) -> None:
    replay()
    DailyUsage.objects.update(credits=6)

    with pytest.raises(CommandError, match="differs"):
        replay()


def test_a_rejected_line_is_named_and_counts_as_a_difference(replay: Replay, trace: Path) -> None:
    trace.write_bytes(TRACE + b"1999-12-31 23:59:59,1,1\n")

    with pytest.raises(CommandError, match="differs"):
        replay()

    assert Job.objects.count() == 4


def test_speed_paces_the_requests(replay: Replay) -> None:
    start = datetime.now(UTC)

    replay("--speed", "40")

    assert datetime.now(UTC) - start > timedelta(seconds=1.6)
    assert Job.objects.count() == 4


def test_keys_and_address_are_found_in_the_demo(
    live_server: LiveServer,
    trace: Path,
    service_key: tuple[ApiKey, str],
    organization_key: tuple[ApiKey, str],
    rates: None,
    settings: Settings,
    tmp_path: Path,
) -> None:
    key, secret = organization_key
    assert key.organization
    settings.VAR_DIR = tmp_path
    organizations = [{"id": "org_other", "name": "Other", "api_key": "x"}]
    organizations += [{"id": key.organization.uid, "name": "Northwind", "api_key": secret}]
    demo = {"base_url": live_server.url, "gateway_key": service_key[1], "organizations": organizations}
    (tmp_path / "demo.json").write_text(json.dumps(demo))

    call_command(
        "replay", str(trace), organization=key.organization.uid, stdout=StringIO(), stderr=StringIO()
    )

    assert Job.objects.filter(organization=key.organization).count() == 4


def test_without_a_demo_the_way_out_is_said(trace: Path, tmp_path: Path, settings: Settings) -> None:
    settings.VAR_DIR = tmp_path

    with pytest.raises(CommandError, match="GATEWAY_KEY and API_KEY"):
        call_command("replay", str(trace), stderr=StringIO())
