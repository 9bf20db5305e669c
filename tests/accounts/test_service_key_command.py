import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey
from accounts.permissions import ServicePermission


def create(*arguments: str) -> str:
    output = io.StringIO()
    call_command("create_service_key", *arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def test_the_key_alone_is_printed_so_that_scripts_can_take_it(db: None) -> None:
    printed = create("--name", "data plane")

    assert ApiKey.objects.with_secret(printed.strip()).get().name == "data plane"


def test_it_may_do_everything_unless_scopes_are_named(db: None) -> None:
    every, some = create("--name", "a"), create("--name", "b", "--scope", "gateway:verify")

    assert ApiKey.objects.with_secret(every.strip()).get().scopes == ServicePermission.values
    assert ApiKey.objects.with_secret(some.strip()).get().scopes == ["gateway:verify"]


def test_an_unknown_scope_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        create("--name", "a", "--scope", "everything")
