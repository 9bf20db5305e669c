"""Two requests with the same idempotency key at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from svix.api import EndpointCreateOptions
from svix.models import ApplicationIn, EndpointIn

from accounts.models import Organization
from webhooks.gateway import get_svix
from webhooks.models import Endpoint


@pytest.mark.django_db(transaction=True)
def test_only_one_of_them_acts_and_all_get_its_answer(organization: Organization) -> None:
    get_svix().application.create(ApplicationIn(uid=organization.uid, name="Northwind"))
    wanted = EndpointIn(url="https://example.com/")

    def create(_: int) -> str:
        try:
            key = EndpointCreateOptions(idempotency_key="key-1")
            return get_svix().endpoint.create(organization.uid, wanted, key).id
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(create, range(8)))

    assert made == {Endpoint.objects.get().uid}
