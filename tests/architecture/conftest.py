from collections.abc import Mapping
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.architecture.tenants import Tenant, tenant
from tests.conftest import sign_in_verified


@pytest.fixture(autouse=True)
def exports_folder(settings: Settings, tmp_path: Path) -> None:
    folder = {"BACKEND": "usage.files.Folder", "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"exports": folder}


@pytest.fixture
def here(db: None) -> Tenant:
    return tenant("here")


@pytest.fixture
def there(db: None) -> Tenant:
    """Somebody else's."""
    return tenant("there")


@pytest.fixture
def callers(here: Tenant, outsider: User, staff: User) -> Mapping[str, Client]:
    """A browser for each who might come: a stranger, an outsider, support, and the members by role."""
    clients = {name: Client() for name in ("anonymous", "outsider", "staff", *here.people)}
    for name, user in {"outsider": outsider, **here.people}.items():
        clients[name].force_login(user)
    sign_in_verified(clients["staff"], staff)
    return clients
