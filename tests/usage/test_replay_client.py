import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from usage.gateway_client import Client, Refused, Unreachable

Answer = tuple[int, dict[str, str], Any]


class Api(HTTPServer):
    """Gives its answers in turn, then the last one again; remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.received: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(body)
        answers = self.server.answers
        status, headers, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def taken(accepted: int, *rejected: int) -> Answer:
    rejections = [{"index": index, "code": "invalid_report", "message": ""} for index in rejected]
    return 200, {}, {"accepted": accepted, "duplicates": 0, "rejected": rejections}


def report(url: str, *jobs: str, patience: float = 5) -> dict[str, Any]:
    async def send() -> dict[str, Any]:
        async with Client(base_url=url, key="k", patience=patience) as client:
            return await client.report([{"job_id": job} for job in jobs])

    return asyncio.run(send())


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_may_pass_is_tried_again_with_the_same_report(api: Api, status: int) -> None:
    api.answers = [(status, {}, {}), (status, {}, {}), taken(1)]

    answer = report(api.url, "a")

    assert answer["accepted"] == 1
    assert api.received == [{"jobs": [{"job_id": "a"}]}] * 3


def test_a_named_pause_is_kept(api: Api) -> None:
    api.answers = [(429, {"Retry-After": "3"}, {}), taken(1)]

    with pytest.raises(Unreachable):
        report(api.url, "a", patience=2)


def test_a_batch_too_large_goes_in_halves(api: Api) -> None:
    api.answers = [(413, {}, {}), taken(1), taken(1, 1)]

    answer = report(api.url, "a", "b", "c")

    assert [len(body["jobs"]) for body in api.received] == [3, 1, 2]
    assert answer["accepted"] == 2
    assert [rejection["index"] for rejection in answer["rejected"]] == [2]


def test_a_refusal_is_not_tried_again(api: Api) -> None:
    api.answers = [(401, {}, {"error": {"message": "Missing or invalid API key."}})]

    with pytest.raises(Refused, match=r"401 Missing or invalid API key\."):
        report(api.url, "a")

    assert len(api.received) == 1


def test_silence_is_sat_out_only_so_long() -> None:
    with pytest.raises(Unreachable):
        report("http://127.0.0.1:9", "a", patience=0.3)
