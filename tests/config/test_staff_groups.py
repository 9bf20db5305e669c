import pytest
from django.contrib.auth.models import Group

from config import staff_groups
from tests.conftest import colleague

GROUPS = (
    staff_groups.SUPPORT,
    staff_groups.BILLING_DESK,
    staff_groups.ENGINEER,
    staff_groups.ADMINISTRATOR,
)


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_is_there_after_migrating(db: None, name: str) -> None:
    assert Group.objects.get(name=name).permissions.exists()


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_sees_everything(db: None, name: str) -> None:
    somebody = colleague("Sam", name)

    assert somebody.has_perms(["accounts.view_organization", "usage.view_job", "billing.view_creditentry"])


@pytest.mark.parametrize(
    ("name", "may", "may_not"),
    [
        (staff_groups.SUPPORT, "accounts.look_as_member", "accounts.revoke_apikey"),
        (staff_groups.BILLING_DESK, "usage.change_usagerecord", "webhooks.change_endpoint"),
        (staff_groups.ENGINEER, "accounts.run_sweep", "billing.change_billingaccount"),
        (staff_groups.ADMINISTRATOR, "accounts.manage_staff", "accounts.unheard_of"),
    ],
)
def test_a_group_may_do_what_its_line_says(db: None, name: str, may: str, may_not: str) -> None:
    somebody = colleague("Sam", name)

    assert somebody.has_perm(may)
    assert not somebody.has_perm(may_not)


def test_migrating_again_takes_back_what_was_added_to_a_group(db: None) -> None:
    group = Group.objects.get(name=staff_groups.SUPPORT)
    before = set(group.permissions.all())
    group.permissions.set(Group.objects.get(name=staff_groups.ADMINISTRATOR).permissions.all())

    staff_groups.write()

    assert set(group.permissions.all()) == before


def test_groups_of_the_operators_own_stay_as_they_are(db: None) -> None:
    own = Group.objects.create(name="Auditors")

    staff_groups.write()

    assert Group.objects.filter(pk=own.pk).exists()
