"""The page of the documentation that says who may do what."""

from io import StringIO

from django.conf import settings
from django.core.management import call_command

PAGE = settings.BASE_DIR / "docs" / "permissions.md"


def test_it_says_what_the_code_does() -> None:
    written = StringIO()

    call_command("permissions_table", stdout=written)

    assert PAGE.read_text() == written.getvalue(), "Run `make docs`."


def test_the_readme_leads_to_it() -> None:
    assert "(docs/permissions.md)" in (settings.BASE_DIR / "README.md").read_text()
