"""Requests as fast as a server answers them, over kept connections: so simple that the server is what is measured.

Each client is a process of its own, with some connections, each of which sends its next request once it has the
answer to the last.
"""

import json
import math
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench._system import ROOT

MILLISECOND = 1e-3


@dataclass(frozen=True)
class Pace:
    """Requests a second, and how long half of them and all but a hundredth took at most, in seconds."""

    rate: float
    p50: float
    p99: float


def post(path: str, body: bytes, authorization: str) -> str:
    """The text of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head + body.decode()


def load(
    port: int, requests: Sequence[str], *, seconds: float, expect: str, clients: int = 2, connections: int = 4
) -> Pace:
    """Send these requests in turn, each once before and then for so long.

    Every answer must be a 200 that holds what is expected.
    """
    asked = {"port": port, "seconds": seconds, "expect": expect, "connections": connections}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench._load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(clients)
    ]
    for number, process in enumerate(processes):
        assert process.stdin
        own = requests[number::clients] or requests
        process.stdin.write(json.dumps(asked | {"requests": own}) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdin and process.stdout
        process.stdout.readline()  # it has sent each once
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in processes]
    taken = sorted(time for answer in answers for time in answer["taken"])
    return Pace(
        rate=sum(len(answer["taken"]) / answer["seconds"] for answer in answers),
        p50=taken[len(taken) // 2],
        p99=taken[len(taken) * 99 // 100],
    )


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    requests = [request.encode() for request in asked["requests"]]
    client = Client(asked["port"], requests, asked["expect"].encode(), asked["connections"])
    client.run(len(requests))
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    taken = client.run(seconds=asked["seconds"])
    print(json.dumps({"seconds": time.perf_counter() - start, "taken": taken}))


class Client:
    def __init__(self, port: int, requests: list[bytes], expect: bytes, connections: int) -> None:
        self._requests = requests
        self._expect = expect
        self._sent = 0
        self._sockets: dict[int, socket.socket] = {}
        self._since: dict[int, float] = {}
        self._poll = select.epoll()
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection.fileno(), select.EPOLLIN)

    def run(self, requests: float = math.inf, *, seconds: float = math.inf) -> list[float]:
        """Send so many requests, or for so long, and return how long each took."""
        taken: list[float] = []
        last, end = self._sent + requests, time.perf_counter() + seconds
        for number in self._sockets:
            self._send(number)
        while self._since:
            for number, _ in self._poll.poll():
                self._receive(number)
                now = time.perf_counter()
                taken.append(now - self._since.pop(number))
                if now < end and self._sent < last:
                    self._send(number)
        return taken

    def _send(self, number: int) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._since[number] = time.perf_counter()
        self._sockets[number].sendall(request)

    def _receive(self, number: int) -> None:
        answer = b""
        while True:
            piece = self._sockets[number].recv(65_536)
            answer += piece
            head, found, body = answer.partition(b"\r\n\r\n")
            if found and len(body) >= _length(head):
                break
            if not piece:
                raise RuntimeError(f"The connection was closed after {answer!r}")
        if not (head.startswith(b"HTTP/1.1 200") and self._expect in body):
            raise RuntimeError(f"Unexpected answer: {answer.decode()[:1000]}")


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


def milliseconds(pace: Pace) -> str:
    return f"p50 {pace.p50 / MILLISECOND:.2f} ms, p99 {pace.p99 / MILLISECOND:.2f} ms"


def median_of(paces: Sequence[Pace]) -> Pace:
    """The middle one of several, in each respect."""
    values: Any = zip(*((pace.rate, pace.p50, pace.p99) for pace in paces), strict=True)
    return Pace(*(sorted(each)[len(each) // 2] for each in values))


if __name__ == "__main__":
    main()
