"""The Stripe simulator as a process for tests, and what a customer does on its pages.

A folder's conftest makes the fixture its own: `from tests.billing.simulator_process import simulator`.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import stripe

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = "sk_test_simulated0000000000000000"

GOOD = "4242 4242 4242 4242"
DECLINED = "4000 0000 0000 0002"
FAILS_LATER = "4000 0000 0000 0341"
CONFIRMED_ONCE = "4000 0025 0000 3155"
CONFIRMED_ALWAYS = "4000 0027 6000 3184"


class SimulatorProcess:
    """The simulator, strict about its own answers, with its state in a folder."""

    def __init__(self, data: Path, *, ago: int = 0) -> None:
        self._data = data
        self._ago = ago
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.url = ""

    def start(self) -> None:
        """Start, or start again on the same port with the same state."""
        command = [sys.executable, "-m", "billing.simulator", "--strict"]
        command += ["--port", str(self._port), "--data", str(self._data), "--ago", str(self._ago)]
        log = open(self._data.with_suffix(".log"), "a")  # noqa: SIM115 - the process keeps it open
        with log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "http://" in line, self._data.with_suffix(".log").read_text()
        self.url = line.split()[-1]
        self._port = int(self.url.rsplit(":", 1)[1])
        self.client = stripe.StripeClient(KEY, base_addresses={"api": self.url}, max_network_retries=0)
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.http.close()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        return self._data.with_suffix(".log").read_text()

    # The clock

    @property
    def now(self) -> int:
        return int(self._json("GET", "/simulator/clock")["now"])

    def advance(self, seconds: int = 0, *, to: int | None = None) -> int:
        """Move the clock on, with everything due on the way done; return the simulated time."""
        given = {"to": to} if to is not None else {"seconds": seconds}
        return int(self._json("POST", "/simulator/clock/advance", given)["now"])

    def set(self, **settings: Any) -> None:
        """Change settings of the simulator: `after_last_retry`, `meter_lag`."""
        self._json("POST", "/simulator/settings", settings)

    def settle(self) -> None:
        """Wait until each event was sent to its endpoints at least once."""
        self._json("POST", "/simulator/deliveries/settle")

    def deliveries(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "/simulator/deliveries")["data"])

    def resend(self, event: str) -> None:
        self._json("POST", "/simulator/deliveries/resend", {"event": event})

    def _json(self, method: str, path: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        response = self.http.request(method, path, json=given)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    # The pages

    def post(self, url: str, **form: str) -> httpx.Response:
        """Press a button of a page, and return what it answers; redirects lead out of the simulator."""
        return self.http.post(url, data=form, headers={"Origin": self.url})

    def complete_checkout(
        self, session_url: str, card: str = GOOD, *, email: str = "buyer@example.com", **form: str
    ) -> str:
        """Pay on a Checkout page, confirming where the card asks, and return the address it leads to."""
        response = self.post(session_url, card=card, email=email, **form)
        if response.status_code == 200 and "confirmation" in response.text:
            response = self.post(session_url, card=card, email=email, confirmation="confirmed", **form)
        assert response.status_code == 303, response.text
        return response.headers["Location"]

    def set_card(self, customer: str, card: str = GOOD) -> str:
        """Give a customer a card that all their subscriptions are charged to from now on; return its id."""
        token = {
            GOOD: "pm_card_visa",
            FAILS_LATER: "pm_card_chargeCustomerFail",
            CONFIRMED_ONCE: "pm_card_authenticationRequiredOnSetup",
            CONFIRMED_ALWAYS: "pm_card_authenticationRequired",
        }[card]
        method = self.client.v1.payment_methods.attach(token, {"customer": customer})
        self.client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
        for subscription in self.client.v1.subscriptions.list({"customer": customer}).data:
            self.client.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})
        return method.id

    def fail_payments(self, customer: str) -> str:
        """Let every later charge of a customer fail."""
        return self.set_card(customer, FAILS_LATER)


def session_id(url: str) -> str:
    """Return the session's id from the address that a Checkout led to, where `{CHECKOUT_SESSION_ID}` stood."""
    return parse_qs(urlsplit(url).query)["session_id"][0]


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """One simulator for all tests: each makes its own customers, and the clock goes on from test to test."""
    process = SimulatorProcess(tmp_path_factory.mktemp("stripe") / "data")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def own_simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    """A simulator of the test's own, to be stopped, killed and started again."""
    process = SimulatorProcess(tmp_path / "stripe")
    process.start()
    yield process
    process.stop()
