"""Start the simulator: `python -m billing.simulator --port 8002 --data var/stripe`."""

import argparse
import logging
import signal
import threading
from pathlib import Path

from billing.simulator.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m billing.simulator", description=__doc__)
    parser.add_argument(
        "--port", type=int, required=True, help="on 127.0.0.1; 0 takes a free one, which is printed"
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds its state")
    parser.add_argument("--ago", type=int, default=0, help="begin so many seconds ago, where it is new")
    parser.add_argument("--strict", action="store_true", help="hold each answer against the contract, too")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    server = Server(options.port, options.data, strict=options.strict, ago=options.ago)
    for number in (signal.SIGTERM, signal.SIGINT):
        # `shutdown` waits for the loop of `run`, so it must not be called from within it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"Simulated Stripe on {server.sim.base_url}", flush=True)  # noqa: T201 - read by whoever started it
    server.run()


if __name__ == "__main__":
    main()
