from datetime import UTC, datetime
from pathlib import Path

import pytest

from usage import traces
from usage.traces import NotATrace, Row

HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = b"2023-11-16 18:15:46.6805900,374,44\n"


def read(path: Path, content: bytes) -> tuple[list[Row], dict[int, str]]:
    path.write_bytes(content)
    malformed: dict[int, str] = {}
    rows = list(traces.read(path, on_malformed=malformed.__setitem__))
    return rows, malformed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def test_a_row_is_a_job(file: Path) -> None:
    rows, malformed = read(file, HEADER + b"2023-11-16 18:15:46.6805900,1001,25\n")

    assert malformed == {}
    assert rows[0].line == 2
    assert rows[0].timestamp == datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)
    assert rows[0].pages == 3
    assert rows[0].duration == 0.5


@pytest.mark.parametrize(("tokens", "pages"), [(0, 1), (1, 1), (500, 1), (501, 2), (14_050, 29)])
def test_pages_are_begun_500_tokens_and_at_least_one(file: Path, tokens: int, pages: int) -> None:
    rows, _ = read(file, b"2023-11-16 18:15:46,%d,1\n" % tokens)

    assert rows[0].pages == pages


@pytest.mark.parametrize(
    "content",
    [
        HEADER + GOOD,
        b"\xef\xbb\xbf" + HEADER + GOOD,
        (HEADER + GOOD).replace(b"\n", b"\r\n"),
        HEADER + b"\n" + GOOD + b"\n\n",
        HEADER + GOOD.rstrip(b"\n"),
        GOOD,
        HEADER + b'"2023-11-16 18:15:46.6805900", 374 ,"44"\n',
        HEADER + b"2023-11-16T19:15:46.680590+01:00,374,44\n",
    ],
    ids=["plain", "bom", "crlf", "blank lines", "no last newline", "no header", "quoted", "time zone"],
)
def test_forms_of_the_same_trace_are_read_alike(file: Path, content: bytes) -> None:
    rows, malformed = read(file, content)

    assert malformed == {}
    assert [(row.timestamp, row.context_tokens, row.generated_tokens) for row in rows] == [
        (datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC), 374, 44)
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2023-11-16 18:15:46,374", "2 columns"),
        (b"2023-11-16 18:15:46,374,44,1", "4 columns"),
        (b"2023-11-16 18:15:46,-374,44", "ContextTokens '-374'"),
        (b"2023-11-16 18:15:46,NaN,44", "ContextTokens 'NaN'"),
        (b"2023-11-16 18:15:46,374,inf", "GeneratedTokens 'inf'"),
        (b"2023-11-16 18:15:46,374,", "GeneratedTokens ''"),
        (b"2023-11-16 18:15:46,374,1e3", "GeneratedTokens '1e3'"),
        (b"2023-11-16 18:15:46,374," + b"9" * 500, "more than"),
        (b"2023-11-16 18:15:46,1_000,1", "ContextTokens '1_000'"),
        (b"yesterday,374,44", "TIMESTAMP 'yesterday' is no time"),
        (b"2023-02-30 18:15:46,374,44", "is no time"),
        (b"0001-01-01 00:00:00+10:00,374,44", "is no time"),
        (b"9999-12-31 23:59:59,374,44", "is not from"),
        (b"\xff\xfe2023,374,44", "not UTF-8"),
        (b"2023-11-16 18:15:46\0,374,44", "NUL"),
        (b'2023-11-16 18:15:46,"374,44', "unexpected end"),
        (b"x" * 100_000, "too long"),
        (HEADER.strip(), "is no time"),
    ],
)
def test_a_malformed_line_is_named_and_the_others_are_read(file: Path, line: bytes, reason: str) -> None:
    rows, malformed = read(file, HEADER + GOOD + line + b"\n" + GOOD)

    assert [row.line for row in rows] == [2, 4]
    assert list(malformed) == [3]
    assert reason in malformed[3]


def test_a_survey_counts_what_is_in_the_file(file: Path) -> None:
    file.write_bytes(HEADER + b"2023-11-16 18:15:50,600,50\n?\n2023-11-16 18:15:40,100,900\n")

    trace = traces.survey(file, on_malformed=lambda line, reason: None)

    assert (trace.requests, trace.pages, trace.malformed) == (2, 3, 1)
    assert trace.start == datetime(2023, 11, 16, 18, 15, 40, tzinfo=UTC)
    assert trace.end == datetime(2023, 11, 16, 18, 15, 58, tzinfo=UTC)


@pytest.mark.parametrize("content", [b"", HEADER, b"PK\x03\x04\xff\n"])
def test_a_file_without_requests_is_no_trace(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(NotATrace, match="holds no request"):
        traces.survey(file, on_malformed=lambda line, reason: None)


def test_a_file_that_cannot_be_read_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NotATrace, match="cannot be read: Is a directory"):
        traces.survey(tmp_path, on_malformed=lambda line, reason: None)
