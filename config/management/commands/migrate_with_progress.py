from typing import Any

from django.core.management.commands.migrate import Command as Migrate
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from tqdm import tqdm


class Command(Migrate):
    help = "Apply migrations like `migrate`, showing how far it is; say nothing when there are none to apply."

    _bar: "tqdm[Any] | None" = None

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Advance the bar, which begins with the first migration: before it there is nothing to wait for."""
        if action == "apply_start" and self._bar is None:
            executor = MigrationExecutor(connection)
            total = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
            self.stderr.write(f"Preparing the database: {total} steps, a minute or two the first time")
            self._bar = tqdm(
                total=total, disable=None, leave=False, bar_format="{l_bar}{bar}| {n}/{total} {desc}"
            )
        if self._bar is not None and action == "apply_success":
            self._bar.set_description_str(str(migration), refresh=False)
            self._bar.update()

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options | {"verbosity": 0})
        if self._bar is not None:
            self._bar.close()
