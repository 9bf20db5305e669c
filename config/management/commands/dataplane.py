import asyncio
import contextlib
import math
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config.demo.data_plane import DataPlane, callers, read_demo
from usage.gateway_client import Client


class Command(BaseCommand):
    help = "Be the demo's data plane: keep live traffic trickling in, until told to stop."

    def handle(self, *args: Any, **options: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(self._run())
        self._say("Stopped.")

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        demo = await read_demo(settings.VAR_DIR / "demo.json")
        self._say(f"Sending live traffic to {demo['base_url']}")
        async with Client(base_url=demo["base_url"], key=demo["gateway_key"], patience=math.inf) as gateway:
            data_plane = DataPlane(gateway, file=settings.VAR_DIR / "dataplane.json", say=self._say)
            await data_plane.run(callers(demo))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
