"""The line accounts ← webhooks ← usage ← billing, kept in imports, migrations, relations and templates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.template.engine import Engine

LINE = ["accounts", "webhooks", "usage", "billing"]
TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))


def is_left_or_same(app: str, other: str) -> bool:
    """Whether `app` may use `other`: always, unless that is one of ours further to the right."""
    return other not in LINE or LINE.index(other) <= LINE.index(app)


def test_imports_keep_the_line() -> None:
    command = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run(
        [command, "--no-cache"], cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout


def test_migrations_keep_the_line() -> None:
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations

    crossings = [
        f"{app}.{name} depends on {dependency}"
        for (app, name), migration in migrations.items()
        if app in LINE
        for dependency in (*migration.dependencies, *migration.run_before)
        if not is_left_or_same(app, dependency[0])
    ]

    assert not crossings


def test_libraries_tables_do_not_pull_the_right_into_ours() -> None:
    """No migration of ours waits for dj-stripe's, which itself waits for our organizations."""
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations

    assert not [
        key
        for key, migration in migrations.items()
        if key[0] in LINE and any(dependency[0] == "djstripe" for dependency in migration.dependencies)
    ]


@pytest.mark.parametrize("app", LINE)
def test_relations_keep_the_line(app: str) -> None:
    crossings = [
        f"{field} refers to {field.related_model}"
        for model in apps.get_app_config(app).get_models()
        for field in (*model._meta.fields, *model._meta.many_to_many)
        if field.related_model and not is_left_or_same(app, field.related_model._meta.app_label)
    ]

    assert not crossings


def test_config_has_no_models() -> None:
    assert not list(apps.get_app_config("config").get_models())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.name))
def test_templates_keep_the_line(template: Path) -> None:
    """A page lives in the rightmost app that it shows, so it needs neither tags nor templates from further right."""
    parts = template.relative_to(settings.BASE_DIR / "templates").parts
    # Pages of the back office that are of no app are config's, which may see all.
    app = LINE[-1] if parts[0] == "admin" and parts[1] not in LINE else parts[0]
    # What all pages share stands left of every app, as does what replaces a library's template.
    app = app if app in LINE else LINE[0]
    text = template.read_text()
    tags = Engine.get_default().libraries

    loaded = {
        tags[library].split(".")[0]
        for load in re.findall(r"{%\s*load\s+([^%]+)%}", text)
        for library in load.split("from")[-1].split()
        if library in tags
    }
    included = {
        path.split("/")[0] for path in re.findall(r"""{%\s*(?:include|extends)\s+["']([^"']+)["']""", text)
    }

    assert not [other for other in loaded | included if not is_left_or_same(app, other)]
