"""Support looks at an organization as one of its members: whom as, for how long, what it sees, and what stays of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.base import UpdateError
from django.db import InternalError
from django.test import Client
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY

from accounts import access, audit, impersonation, keys, organizations, team
from accounts.audit import Actor
from accounts.models import AuditEntry, Membership, Notification, Organization, User
from accounts.permissions import Role
from tests.accounts.looking import REASON, begin, look_page
from tests.conftest import colleague, sign_in_verified
from webhooks import endpoints

STARTED, ENDED = audit.Action.LOOK_STARTED, audit.Action.LOOK_ENDED


@pytest.fixture
def looking(staff: User, organization: Organization, member: User) -> Client:
    """The browser of somebody on the staff who looks as Mia."""
    return begin(staff, organization, member)


@pytest.fixture
def pages(organization: Organization) -> str:
    return f"/o/{organization.uid}"


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("pk"))


# ── How it begins ────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_shows_the_pages_as_the_member_sees_them(looking: Client, pages: str) -> None:
    page = text(looking.get(f"{pages}/team/"))

    assert "You are looking as <strong>Mia</strong> of <strong>Northwind</strong>" in page
    assert "Ends in 60 min." in page
    assert "Your role may look at the team, not change it." in page


@pytest.mark.parametrize("reason", ["  ", "Ticket\u202e4711", "Ticket\n4711"])
def test_it_needs_a_reason_that_can_be_read(
    back_office: Client, organization: Organization, member: User, pages: str, reason: str
) -> None:
    answer = back_office.post(look_page(organization), {"membership": member.uid, "reason": reason})

    assert answer.status_code == 400
    assert back_office.get(f"{pages}/team/").status_code == 404


def test_the_member_named_in_the_address_is_chosen(
    back_office: Client, organization: Organization, member: User
) -> None:
    page = text(back_office.get(look_page(organization), {"member": member.uid}))

    assert f'<option value="{member.uid}" selected>' in page


def test_nobody_looks_as_somebody_of_the_staff_or_switched_off(
    back_office: Client, organization: Organization, owner: User, member: User, admin: User
) -> None:
    User.objects.filter(pk=member.pk).update(is_staff=True)
    User.objects.filter(pk=admin.pk).update(is_active=False)

    page = text(back_office.get(look_page(organization)))
    answers = [
        back_office.post(look_page(organization), {"membership": person.uid, "reason": REASON})
        for person in (member, admin)
    ]

    assert owner.uid in page
    assert member.uid not in page
    assert [answer.status_code for answer in answers] == [400, 400]
    assert not entries(STARTED)


def test_nobody_looks_as_a_member_of_another_organization(
    back_office: Client, organization: Organization, other_organization: Organization, outsider: User
) -> None:
    answer = back_office.post(look_page(organization), {"membership": outsider.uid, "reason": REASON})

    assert answer.status_code == 400
    assert not entries(STARTED)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda staff, of: organizations.delete(organization=of.organization, actor=None), "OrganizationDeleted"),
        (lambda staff, of: setattr(of.organization, "support_may_look", False), "OptedOut"),
        (lambda staff, of: team.add_member(organization=of.organization, user=staff, role=Role.ADMIN, actor=None),
         "OwnOrganization"),
        (lambda staff, of: setattr(of.user, "is_staff", True), "OnTheStaff"),
        (lambda staff, of: setattr(of.user, "is_superuser", True), "OnTheStaff"),
        (lambda staff, of: setattr(of.user, "is_active", False), "SwitchedOff"),
        (lambda staff, of: setattr(staff, "is_superuser", False), "MayNotLook"),
        (lambda staff, of: setattr(staff, "is_staff", False), "MayNotLook"),
    ],
)  # fmt: skip
def test_why_somebody_may_not_look(
    staff: User, organization: Organization, member: User, spoil: Callable[..., Any], why: str
) -> None:
    membership = Membership.objects.select_related("organization", "user").get(user=member)
    session = Client().session

    spoil(staff, membership)

    with pytest.raises(getattr(impersonation, why)):
        impersonation.start(session=session, membership=membership, reason=REASON, actor=Actor(staff))
    assert impersonation.LOOK not in session
    assert not entries(STARTED)


@pytest.mark.parametrize(("group", "status"), [("Support", 200), ("Billing desk", 403), ("Engineer", 403)])
def test_it_is_for_those_who_answer_the_mail(
    client: Client, organization: Organization, member: User, group: str, status: int
) -> None:
    sign_in_verified(client, colleague("Sam", group))
    organization_page = look_page(organization).replace("look/", "change/")

    assert client.get(look_page(organization)).status_code == status
    assert ("Look as a member" in text(client.get(organization_page))) == (status == 200)


def test_an_organization_that_opted_out_says_so_in_the_admin(
    back_office: Client, organization: Organization, member: User
) -> None:
    organizations.update(organization=organization, changes={"support_may_look": False}, actor=None)

    page = back_office.get(look_page(organization))
    answer = back_office.post(look_page(organization), {"membership": member.uid, "reason": REASON})

    assert "This organization does not let support look." in text(page)
    assert "<select" not in text(page)
    assert answer.status_code == 400
    assert not entries(STARTED)


# ── What it shows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_changes_nothing(looking: Client, pages: str, organization: Organization, owner: User) -> None:
    begun = begin(User.objects.get(is_staff=True), organization, owner)

    answer = begun.post(f"{pages}/settings/", {"name": "Southwind", "time_zone": "UTC"})

    assert answer.status_code == 403
    assert "nothing can be changed, and secrets stay closed" in text(answer)
    assert Organization.objects.get().name == "Northwind"


def test_the_database_refuses_what_a_page_would_write(organization: Organization) -> None:
    with pytest.raises(InternalError, match="read-only"), impersonation.reading_only():
        Organization.objects.update(name="Southwind")

    Organization.objects.update(name="Eastwind")
    assert Organization.objects.get().name == "Eastwind"


def test_it_leaves_no_trace_of_the_member(
    looking: Client, pages: str, member: User, staff: User, organization: Organization
) -> None:
    looking.get(f"{pages}/usage/")

    assert Membership.objects.get(user=member).last_active_at is None
    assert access.LAST_ORGANIZATION not in looking.session
    assert not UserSession.objects.filter(user=member).exists()
    assert UserSession.objects.get(session_key=looking.session.session_key).user == staff
    member.refresh_from_db()
    assert member.last_login is None


def test_other_organizations_of_the_member_are_not_told(
    staff: User, organization: Organization, member: User, pages: str, other_organization: Organization
) -> None:
    team.add_member(organization=other_organization, user=member, role=Role.ADMIN, actor=None)
    looking = begin(staff, organization, member)

    page = text(looking.get(f"{pages}/usage/"))

    assert "Northwind" in page
    assert "Contoso" not in page
    assert looking.get(f"/o/{other_organization.uid}/usage/").status_code == 404


def test_the_members_own_keys_stay_their_own(
    looking: Client, pages: str, member: User, organization: Organization
) -> None:
    key, _ = keys.create_personal_key(user=member, organization=organization, name="laptop")

    assert looking.get(f"{pages}/api-keys/personal/").status_code == 403
    assert looking.get(f"{pages}/api-keys/{key.uid}/").status_code == 404
    assert looking.get(f"{pages}/usage/keys/{key.uid}/").status_code == 404


def test_the_members_notices_stay_their_own(looking: Client, pages: str, member: User) -> None:
    Notification.objects.create(user=member, kind="team", key="one", title="Something happened")

    page = text(looking.get(f"{pages}/usage/"))

    assert "unread" not in page
    assert not Notification.objects.filter(user=member, read_at__isnull=False).exists()


def test_headers_of_endpoints_may_be_passwords(
    staff: User, owner: User, organization: Organization, pages: str
) -> None:
    made = endpoints.create(
        organization=organization,
        url="https://example.com/hook",
        headers={"X-Password": "open sesame"},
        actor=Actor(owner),
    )
    address = f"{pages}/webhooks/endpoints/{made.endpoint.id}/"
    own = Client()
    own.force_login(owner)

    page = text(begin(staff, organization, owner).get(address))

    assert "X-Password" in page
    assert "open sesame" not in page
    assert "open sesame" in text(own.get(address))


def test_a_page_that_the_member_may_not_see_is_refused_to_support_too(looking: Client, pages: str) -> None:
    answer = looking.get(f"{pages}/audit/")

    assert answer.status_code == 403
    assert "Your role does not allow this" in text(answer)
    assert "You are looking as" in text(answer)


def test_support_sees_what_a_second_factor_would_be_asked_for(
    looking: Client, pages: str, organization: Organization
) -> None:
    Organization.objects.update(two_factor_required_from=timezone.now() - timedelta(days=1))

    page = looking.get(f"{pages}/team/")

    assert page.status_code == 200
    assert "requires two-factor authentication, and you have not set it up" in text(page)


@pytest.mark.parametrize(("path", "status"), [("usage/", 200), ("audit/", 403), ("jobs/gone/", 404)])
def test_what_is_looked_at_is_kept_in_no_browser(looking: Client, pages: str, path: str, status: int) -> None:
    answer = looking.get(f"{pages}/{path}")

    assert answer.status_code == status
    assert "no-store" in answer["Cache-Control"]


def test_that_a_look_has_ended_is_kept_in_no_browser(looking: Client, pages: str) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=61), tick=False):
        answer = looking.get(f"{pages}/usage/")

    assert answer.status_code == 403
    assert "no-store" in answer["Cache-Control"]


def test_whatever_would_be_recorded_names_support(
    staff: User, organization: Organization, member: User, rf: Any
) -> None:
    membership = Membership.objects.get(user=member)
    request = rf.get("/")
    request.user = member
    request.looking = impersonation.Look(staff, membership, timezone.now())

    assert access.actor_of(request).user == staff


# ── How it ends ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_stopping_leads_back_to_the_admin(looking: Client, pages: str, organization: Organization) -> None:
    answer = looking.post("/me/stop-looking/")

    assert answer["Location"] == look_page(organization).replace("look/", "change/")
    assert looking.get(f"{pages}/team/").status_code == 404
    [entry] = entries(ENDED)
    assert (entry.actor_name, entry.by_staff, entry.target_name) == (
        "stella@example.com",
        True,
        "mia@example.com",
    )


def test_stopping_what_is_not_leads_home(back_office: Client) -> None:
    assert back_office.post("/me/stop-looking/")["Location"] == "/"
    assert not entries(ENDED)


def test_it_ends_after_an_hour(looking: Client, pages: str) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=59), tick=False):
        before = looking.get(f"{pages}/team/")
    with time_machine.travel(timezone.now() + timedelta(minutes=61), tick=False):
        after = [looking.get(f"{pages}/team/"), looking.get(f"{pages}/usage/")]

    assert "Ends in 1 min." in text(before)
    for answer in after:
        assert answer.status_code == 403
        assert "You looked at the pages of Northwind as Mia. Its 60 minutes are over." in text(answer)
    [entry] = entries(ENDED)
    assert (entry.actor_name, entry.after) == ("system", {"why": "Its 60 minutes are over."})


def by_removal(staff: User, member: User, organization: Organization) -> None:
    Membership.objects.filter(user=member).delete()


def by_joining_anew(staff: User, member: User, organization: Organization) -> None:
    Membership.objects.filter(user=member).delete()
    team.add_member(organization=organization, user=member, role=Role.ADMIN, actor=None)


def by_switching_off(staff: User, member: User, organization: Organization) -> None:
    User.objects.filter(pk=member.pk).update(is_active=False)


def by_joining_the_staff(staff: User, member: User, organization: Organization) -> None:
    User.objects.filter(pk=member.pk).update(is_staff=True)


def by_opting_out(staff: User, member: User, organization: Organization) -> None:
    organizations.update(organization=organization, changes={"support_may_look": False}, actor=None)


def by_deletion(staff: User, member: User, organization: Organization) -> None:
    organizations.delete(organization=organization, actor=None)


def by_leaving_the_staff(staff: User, member: User, organization: Organization) -> None:
    User.objects.filter(pk=staff.pk).update(is_staff=False)


def by_losing_the_permission(staff: User, member: User, organization: Organization) -> None:
    User.objects.filter(pk=staff.pk).update(is_superuser=False)


def by_losing_the_device(staff: User, member: User, organization: Organization) -> None:
    staff.totpdevice_set.all().delete()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "spoil",
    [
        by_removal,
        by_joining_anew,
        by_switching_off,
        by_joining_the_staff,
        by_opting_out,
        by_deletion,
        by_leaving_the_staff,
        by_losing_the_permission,
        by_losing_the_device,
    ],
)
def test_it_ends_with_what_it_rests_on(
    spoil: Callable[..., None],
    looking: Client,
    pages: str,
    staff: User,
    member: User,
    organization: Organization,
) -> None:
    before = looking.get(f"{pages}/team/")

    spoil(staff, member, organization)
    answer = looking.get(f"{pages}/team/")

    assert before.status_code == 200
    assert answer.status_code == 403
    assert "Looking has ended" in text(answer)
    [entry] = entries(ENDED)
    assert "stella" not in entry.actor_name


def test_a_part_of_a_page_makes_way_when_it_ends(looking: Client, pages: str) -> None:
    Organization.objects.update(support_may_look=False)

    assert looking.get(f"{pages}/team/", headers={"HX-Request": "true"})["HX-Refresh"] == "true"


def test_what_has_ended_does_not_begin_again(looking: Client, pages: str) -> None:
    Organization.objects.update(support_may_look=False)
    looking.get(f"{pages}/team/")

    Organization.objects.update(support_may_look=True)

    assert looking.get(f"{pages}/team/").status_code == 403
    looking.post("/me/stop-looking/")
    assert looking.get(f"{pages}/team/").status_code == 404
    assert len(entries(ENDED)) == 1


def test_requests_that_find_its_end_at_once_write_it_down_once(
    staff: User, organization: Organization, member: User, rf: Any
) -> None:
    """Parts of a page ask side by side, each with the session as it was."""
    browser = begin(staff, organization, member)
    sides = [browser.session, browser.session]
    Organization.objects.update(support_may_look=False)

    for session in sides:
        request = rf.get("/")
        request.user, request.session = staff, session
        staff.is_verified = lambda: True  # type: ignore[attr-defined]
        with pytest.raises(impersonation.Ended):
            impersonation.find(request, organization.uid)
    for session in [browser.session, browser.session]:
        impersonation.end(session=session, actor=Actor(staff))

    assert len(entries(ENDED)) == 1


def test_two_clicks_on_stop_are_one(looking: Client, staff: User) -> None:
    sides = [looking.session, looking.session]

    for session in sides:
        impersonation.end(session=session, actor=Actor(staff))

    assert len(entries(ENDED)) == 1


def test_signing_out_ends_it(looking: Client, pages: str) -> None:
    looking.post("/accounts/logout/")

    assert looking.get(f"{pages}/team/").status_code == 302
    [entry] = entries(ENDED)
    assert entry.actor_name == "stella@example.com"


def test_it_needs_a_session_verified_by_a_device(looking: Client, pages: str) -> None:
    session = looking.session
    del session[DEVICE_ID_SESSION_KEY]
    session.save()

    assert looking.get(f"{pages}/team/").status_code == 403


def test_looking_in_another_browser_ends_the_first_as_well(
    looking: Client, pages: str, staff: User, organization: Organization, owner: User
) -> None:
    looking.get(f"{pages}/team/")

    second = begin(staff, organization, owner)

    assert second.get(f"{pages}/team/").status_code == 200
    assert looking.get(f"{pages}/team/").status_code == 404
    [entry] = entries(ENDED)
    assert (entry.target_name, entry.after) == ("mia@example.com", {"why": "Another look was begun."})
    assert looking.get("/admin/").status_code == 200  # they stay signed in


def test_the_admin_says_that_a_look_is_running(looking: Client, organization: Organization) -> None:
    during = text(looking.get("/admin/"))
    looking.post("/me/stop-looking/")
    after = text(looking.get("/admin/"))

    assert "You are looking at the pages of <strong>Northwind</strong>" in during
    assert "/me/stop-looking/" in during
    assert "/me/stop-looking/" not in after


def test_looking_elsewhere_ends_the_first(
    looking: Client, pages: str, other_organization: Organization, outsider: User
) -> None:
    looking.post(look_page(other_organization), {"membership": outsider.uid, "reason": REASON})

    assert looking.get(f"/o/{other_organization.uid}/team/").status_code == 200
    assert looking.get(f"{pages}/team/").status_code == 404
    assert [entry.organization_name for entry in entries(ENDED)] == ["Northwind"]
    assert [entry.organization_name for entry in entries(STARTED)] == ["Northwind", "Contoso"]


def test_a_request_under_way_cannot_put_it_back(looking: Client, pages: str) -> None:
    stale = looking.session
    stale["anything"] = True

    looking.post("/me/stop-looking/")

    with pytest.raises(UpdateError):
        stale.save()
    assert looking.get(f"{pages}/team/").status_code == 404


def test_the_name_of_somebody_who_left_the_staff_is_not_told_either(looking: Client, staff: User) -> None:
    User.objects.filter(pk=staff.pk).update(is_staff=False)

    looking.post("/me/stop-looking/")

    [entry] = entries(ENDED)
    assert entry.actor_name == "system"


def test_a_look_is_of_one_session(looking: Client, staff: User, pages: str) -> None:
    elsewhere = Client()
    sign_in_verified(elsewhere, staff)

    assert elsewhere.get(f"{pages}/team/").status_code == 404


def test_whoever_is_a_member_is_not_disturbed(
    looking: Client, staff: User, other_organization: Organization
) -> None:
    """Beside a look, support's own organizations are theirs as ever."""
    team.add_member(organization=other_organization, user=staff, role=Role.ADMIN, actor=None)

    page = looking.get(f"/o/{other_organization.uid}/team/")

    assert page.status_code == 200
    assert "You are looking as" not in text(page)
    assert Membership.objects.get(user=staff).last_active_at is not None


# ── What the customer learns ─────────────────────────────────────────────────────────────────────────────────────


def test_the_customer_reads_when_as_whom_and_why_but_not_who(
    client: Client, looking: Client, pages: str, owner: User
) -> None:
    looking.post("/me/stop-looking/")
    client.force_login(owner)

    page = text(client.get(f"{pages}/audit/", {"action": "support.*"}))

    assert "began to look at these pages as <strong>mia@example.com</strong>" in page
    assert "stopped looking at these pages as <strong>mia@example.com</strong>" in page
    assert REASON in page
    assert "Countinghouse support" in page
    assert "stella" not in page


def test_the_owner_is_told_in_the_bell_and_not_by_mail(looking: Client, owner: User, member: User) -> None:
    notice = Notification.objects.get(title__startswith="Our support looks")

    assert notice.user == owner
    assert REASON in notice.body
    assert "Stella" not in notice.body
    assert not notice.by_mail


def test_who_manages_the_organization_may_opt_out(
    client: Client, admin: User, looking: Client, pages: str
) -> None:
    client.force_login(admin)

    client.post(f"{pages}/settings/security/", {"support_may_look": "no", "two_factor": "not"})

    assert looking.get(f"{pages}/team/").status_code == 403
    [entry] = entries(audit.Action.ORGANIZATION_UPDATED)
    assert (entry.before, entry.after) == ({"support_may_look": True}, {"support_may_look": False})
