"""Run the processes of the Procfile beside each other, each with a colour, and end all when one ends."""

import http.client
import os
import signal
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from honcho.manager import Manager
from honcho.printer import Message, Printer

from config.embedded import Services

WEB_TIMEOUT = 60.0
# Seconds. A delivery that has begun may take 15 until its receiver has answered.
KILL_WAIT = 20.0


class Supervisor(Manager):  # type: ignore[misc]
    """honcho's manager, which also looks after the services and calls `announce` once the web server answers.

    Without `prefix` lines stand as they were said, for whoever collects them. When it has ended by itself, `failure`
    says what ended first and what that said last.
    """

    def __init__(
        self, services: Services, port: int, announce: Callable[[], None], *, prefix: bool = True
    ) -> None:
        self._output = _Printer(sys.stdout, prefix=prefix)
        super().__init__(self._output)
        self._services = services
        self._port = port
        self._announce = announce
        self._kill_at = 0.0
        self.failure = ""

    def loop(self) -> None:
        """Start all processes and return when all have ended."""
        # honcho hears SIGINT and SIGTERM.
        signal.signal(signal.SIGHUP, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
        super().loop()

    def _start(self) -> None:
        super()._start()
        # Only now: honcho forks, and a fork does not go well with threads.
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        deadline = time.monotonic() + WEB_TIMEOUT
        while not self._web_answers():
            if time.monotonic() > deadline:
                return self._give_up(f"The web server did not answer within {WEB_TIMEOUT:.0f} s")
            time.sleep(0.1)
        if self._terminating:
            return None
        try:
            self._announce()
        except (OSError, ValueError) as error:
            # A full disk, a closed pipe: in this thread, nobody would hear of it.
            return self._give_up(f"That all is ready could not be said: {error}")
        while True:
            if failure := self._services.failure():
                return self._give_up(failure)
            time.sleep(1)

    def _web_answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    def _give_up(self, reason: str) -> None:
        if not self._terminating:
            self.failure = reason
            os.kill(os.getpid(), signal.SIGTERM)

    def terminate(self) -> None:
        """End all processes; called on a signal and when the first of them has ended."""
        if not self._all_started():
            # honcho does not know them all yet; whoever stops the services ends them as well.
            raise KeyboardInterrupt
        ended = [name for name, process in self._processes.items() if "returncode" in process]
        if ended and not self._terminating:
            name = ended[0]
            status = self._processes[name]["returncode"]
            said = "\n  ".join(self._output.last_lines[name])
            self.failure = (
                f"{name} ended by itself (exit status {status}), so all were ended. It said:\n  {said}"
            )
        if not self._terminating:
            self._kill_at = time.monotonic() + KILL_WAIT
        super().terminate()

    def kill(self) -> None:
        """Kill what does not end. honcho calls this again and again from its own, shorter, wait on."""
        if time.monotonic() > self._kill_at:
            super().kill()


class _Printer(Printer):  # type: ignore[misc]
    def __init__(self, output: object, *, prefix: bool) -> None:
        super().__init__(output, prefix=prefix)
        self.last_lines: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=20))

    def write(self, message: Message) -> None:
        text = message.data.decode(errors="replace") if isinstance(message.data, bytes) else message.data
        self.last_lines[message.name].append(text.rstrip())
        super().write(message)
