"""What support does for people in the back office, and what nobody may do there."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks

from accounts import audit, keys, notes, sessions, staff, two_factor
from accounts.audit import Actor
from accounts.authentication import usable_key
from accounts.models import ApiKey, AuditEntry, Note, Notification, Organization, RecoveryCodes, User
from config import staff_groups
from tests.conftest import PASSWORD, colleague, sign_in_verified

IDENTITY = {"check": "video_call", "seen": "Passport held beside the face"}


def page(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def act(client: Client, user: User, name: str, **said: object) -> int:
    url = reverse(f"admin:accounts_user_{name}", args=[user.pk])
    said = {"before": json.dumps(staff.standing(user)), "reason": "Asked by mail"} | said
    return client.post(url, {"_form_submitted": "True", **said}).status_code


def browser_of(name: str, *groups: str) -> Client:
    client = Client()
    sign_in_verified(client, colleague(name, *groups))
    return client


@pytest.fixture
def administrator(db: None) -> Client:
    return browser_of("Ada", staff_groups.ADMINISTRATOR)


@pytest.fixture
def locked_out(owner: User, client: Client) -> User:
    """Somebody with a device, codes and a session."""
    RecoveryCodes.objects.create(user=owner, name="Recovery codes", hashes=["a", "b"])
    sign_in_verified(client, owner)
    client.get("/me/sessions/")
    return owner


# ── Signing in ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_factor_is_reset_with_a_note_of_the_check(administrator: Client, locked_out: User) -> None:
    act(administrator, locked_out, "reset_two_factor", **IDENTITY)

    assert not two_factor.has_device(locked_out)
    assert two_factor.codes_left(locked_out) == 0
    assert not sessions.of(locked_out).exists()
    note = Note.objects.get(user=locked_out)
    assert (note.kind, note.text) == (
        Note.Kind.IDENTITY_CHECK,
        "Video Call: Passport held beside the face",
    )
    entry = AuditEntry.objects.get(action=audit.Action.TWO_FACTOR_RESET)
    assert (entry.actor_name, entry.target_uid) == ("ada@example.com", locked_out.uid)
    assert entry.before == {"device": "Authenticator app", "recovery_codes": 2}
    assert entry.after == {"identity_check": "video_call", "note": note.uid, "sessions_ended": 1}


@pytest.mark.parametrize(
    "said",
    [{}, {"check": "video_call"}, {"seen": "Passport held up"}, {"check": "hunch", "seen": "A voice I knew"}],
)
def test_without_an_identity_check_no_second_factor_is_reset(
    administrator: Client, locked_out: User, said: dict[str, str]
) -> None:
    act(administrator, locked_out, "reset_two_factor", **said)

    assert two_factor.has_device(locked_out)


def test_a_reset_is_told_by_letter_to_the_person_and_to_the_owners_of_their_organizations(
    administrator: Client,
    owner: User,
    member: User,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    two_factor.enrol_totp(user=member, actor=None)

    with django_capture_on_commit_callbacks(execute=True):
        act(administrator, member, "reset_two_factor", **IDENTITY)

    [letter] = mail.outbox
    assert letter.to == [member.email]
    assert "second factor" in letter.subject
    assert Notification.objects.filter(user=owner, title__contains="second factor of Mia").exists()


def test_nobody_resets_their_own_second_factor(administrator: Client) -> None:
    ada = User.objects.get(email="ada@example.com")

    assert act(administrator, ada, "reset_two_factor", **IDENTITY) == 403
    assert two_factor.has_device(ada)


@pytest.mark.parametrize("name", ["sign_out", "reset_two_factor", "switch_off", "send_password_letter"])
def test_colleagues_are_out_of_reach_without_managing_the_staff(owner: User, name: str) -> None:
    somebody = colleague("Sam")
    two_factor.enrol_totp(user=somebody, actor=None)
    group = Group.objects.create(name="Nearly")
    administrator = Group.objects.get(name=staff_groups.ADMINISTRATOR)
    group.permissions.set(administrator.permissions.exclude(codename="manage_staff"))
    client = browser_of("Nora", "Nearly")

    assert act(client, somebody, name, **IDENTITY) == 403


@pytest.mark.parametrize("name", ["sign_out", "reset_two_factor", "switch_off", "appoint"])
def test_superusers_are_out_of_reach_for_everybody_else(
    administrator: Client, staff: User, name: str
) -> None:
    two_factor.enrol_totp(user=staff, actor=None)

    assert act(administrator, staff, name, **IDENTITY) == 403
    staff.refresh_from_db()
    assert (staff.is_active, staff.is_superuser) == (True, True)


def test_somebody_is_signed_out_everywhere_with_a_reason(back_office: Client, locked_out: User) -> None:
    act(back_office, locked_out, "sign_out")

    assert not sessions.of(locked_out).exists()
    entry = AuditEntry.objects.get(action=audit.Action.SESSION_ENDED)
    assert (entry.before, entry.after) == ({"sessions": 1}, {"reason": "Asked by mail"})


def test_the_verification_letter_goes_out_again_but_not_at_once_twice(
    back_office: Client, owner: User
) -> None:
    EmailAddress.objects.filter(user=owner).update(verified=False)

    act(back_office, owner, "resend_verification")
    act(back_office, owner, "resend_verification")

    assert [letter.to for letter in mail.outbox] == [[owner.email]]
    entry = AuditEntry.objects.get(action=audit.Action.USER_VERIFICATION_SENT)
    assert entry.after == {"email": owner.email}


def test_a_verified_address_gets_no_verification_letter(back_office: Client, owner: User) -> None:
    assert act(back_office, owner, "resend_verification") == 403


def test_a_letter_lets_somebody_choose_a_new_password(
    back_office: Client, owner: User, client: Client
) -> None:
    act(back_office, owner, "send_password_letter")

    [letter] = mail.outbox
    assert letter.to == [owner.email]
    link = next(line for line in str(letter.body).splitlines() if line.startswith("http"))
    assert client.get(link, follow=True).status_code == 200
    assert AuditEntry.objects.filter(action=audit.Action.USER_PASSWORD_LETTER_SENT).exists()
    assert link not in str(AuditEntry.objects.values())


def test_nobody_sets_anothers_password(back_office: Client, owner: User) -> None:
    response = back_office.post(
        f"/admin/accounts/user/{owner.pk}/password/",
        {"password1": "mine now 123", "password2": "mine now 123"},
    )

    owner.refresh_from_db()
    assert response.status_code in (302, 404)
    assert owner.check_password(PASSWORD)


def test_a_colleagues_lost_device_is_removed_and_that_is_recorded(back_office: Client, staff: User) -> None:
    somebody = colleague("Sam", staff_groups.SUPPORT)
    device = two_factor.enrol_totp(user=somebody, actor=None).device

    back_office.post(reverse("admin:otp_totp_totpdevice_delete", args=[device.pk]), {"post": "yes"})

    assert not TOTPDevice.objects.filter(user=somebody).exists()
    entry = AuditEntry.objects.get(action=audit.Action.STAFF_DEVICE_REMOVED)
    assert (entry.actor, entry.target_uid) == (staff, somebody.uid)


def test_a_customers_device_goes_only_by_the_reset(back_office: Client, owner: User) -> None:
    device = two_factor.enrol_totp(user=owner, actor=None).device
    url = reverse("admin:otp_totp_totpdevice_delete", args=[device.pk])

    assert back_office.post(url, {"post": "yes"}).status_code == 403


# ── Accounts ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_switching_somebody_off_is_recorded_and_told_to_the_caches(
    back_office: Client, organization: Organization, owner: User, personal_key: tuple[ApiKey, str]
) -> None:
    before = Organization.objects.get().access_version

    act(back_office, owner, "switch_off")

    entry = AuditEntry.objects.get(action=audit.Action.USER_UPDATED)
    assert entry.before == {"is_active": True}
    assert entry.after == {"is_active": False, "reason": "Asked by mail"}
    assert Organization.objects.get().access_version == before + 1
    assert usable_key(personal_key[1]) is None


def test_somebody_switched_off_is_signed_out_at_once(
    back_office: Client, locked_out: User, client: Client
) -> None:
    act(back_office, locked_out, "switch_off")

    assert not sessions.of(locked_out).exists()
    assert client.get("/me/sessions/").status_code == 302


def test_somebody_switched_on_again_is_as_before(
    back_office: Client, owner: User, personal_key: tuple[ApiKey, str]
) -> None:
    act(back_office, owner, "switch_off")
    act(back_office, owner, "switch_on")

    assert usable_key(personal_key[1]) == personal_key[0]


def test_without_a_reason_nobody_is_switched_off(back_office: Client, owner: User) -> None:
    act(back_office, owner, "switch_off", reason="")

    owner.refresh_from_db()
    assert owner.is_active


# ── Staff ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def group() -> Callable[[str], Group]:
    return lambda name: Group.objects.get(name=name)


def test_an_administrator_puts_somebody_in_a_group(
    administrator: Client, outsider: User, group: Callable[[str], Group]
) -> None:
    support = group(staff_groups.SUPPORT)

    act(administrator, outsider, "appoint", is_staff="on", groups=[support.pk])

    outsider.refresh_from_db()
    assert outsider.is_staff
    assert list(outsider.groups.all()) == [support]
    entry = AuditEntry.objects.get(action=audit.Action.USER_UPDATED)
    assert entry.before == {"is_staff": False, "is_superuser": False}
    assert entry.after == {
        "is_staff": True,
        "is_superuser": False,
        "groups": ["Support"],
        "reason": "Asked by mail",
    }


def test_only_superusers_make_superusers(administrator: Client, outsider: User) -> None:
    act(administrator, outsider, "appoint", is_staff="on", is_superuser="on")

    outsider.refresh_from_db()
    assert (outsider.is_staff, outsider.is_superuser) == (True, False)
    with pytest.raises(staff.OutOfReach):
        staff.appoint(
            user=outsider,
            is_staff=True,
            is_superuser=True,
            groups=[],
            reason="Mine",
            actor=Actor(User.objects.get(email="ada@example.com")),
        )


def test_a_superuser_makes_another(back_office: Client, outsider: User) -> None:
    act(back_office, outsider, "appoint", is_staff="on", is_superuser="on")

    outsider.refresh_from_db()
    assert outsider.is_superuser


def test_nobody_changes_their_own_groups(administrator: Client) -> None:
    ada = User.objects.get(email="ada@example.com")

    assert act(administrator, ada, "appoint", is_staff="on") == 403
    assert ada.groups.exists()


def test_nobody_gives_what_they_do_not_have(outsider: User, group: Callable[[str], Group]) -> None:
    group(staff_groups.SUPPORT).permissions.add(
        group(staff_groups.ADMINISTRATOR).permissions.get(codename="manage_staff")
    )
    client = browser_of("Sam", staff_groups.SUPPORT)
    engineer = group(staff_groups.ENGINEER)

    act(client, outsider, "appoint", is_staff="on", groups=[engineer.pk])

    assert not outsider.groups.exists()
    with pytest.raises(staff.OutOfReach):
        staff.appoint(
            user=outsider,
            is_staff=True,
            is_superuser=False,
            groups=[engineer],
            reason="Mine",
            actor=Actor(User.objects.get(email="sam@example.com")),
        )


def test_whoever_leaves_the_staff_leaves_all_groups(back_office: Client) -> None:
    somebody = colleague("Sam", staff_groups.SUPPORT)

    act(back_office, somebody, "appoint")

    somebody.refresh_from_db()
    assert not somebody.is_staff
    assert not somebody.groups.exists()


def test_a_page_of_before_puts_nobody_back_on_the_staff(back_office: Client) -> None:
    somebody = colleague("Sam", staff_groups.SUPPORT)
    dialog = reverse("admin:accounts_user_appoint", args=[somebody.pk])
    before = back_office.get(dialog).context["form"]["before"].value()
    act(back_office, somebody, "appoint")

    act(back_office, somebody, "appoint", is_staff="on", before=before)

    somebody.refresh_from_db()
    assert not somebody.is_staff


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_persons_page_tells_how_they_get_in_and_where_they_belong(
    back_office: Client,
    locked_out: User,
    organization: Organization,
    personal_key: tuple[ApiKey, str],
    staff: User,
) -> None:
    notes.add(about=locked_out, kind=Note.Kind.CONVERSATION, text="Called about a key", actor=Actor(staff))

    shown = back_office.get(page(locked_out)).content.decode()

    for text in (
        f"{locked_out.email} (verified)",
        "Authenticator app, since",
        "2 left",
        "1, last used",
        "Called about a key",
        personal_key[0].masked,
        reverse("admin:accounts_organization_change", args=[organization.pk]),
        f"{reverse('admin:accounts_auditentry_changelist')}?q={locked_out.uid}",
    ):
        assert text in shown


def test_buttons_that_one_may_not_use_are_not_shown(owner: User) -> None:
    shown = browser_of("Sam", staff_groups.SUPPORT).get(page(owner)).content.decode()

    assert "/sign_out/" in shown
    assert [name for name in ("reset_two_factor", "switch_off", "appoint") if f"/{name}/" in shown] == []


def test_a_persons_page_costs_the_same_however_much_there_is(
    back_office: Client,
    organization: Organization,
    owner: User,
    staff: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(15):
        keys.create_personal_key(user=owner, organization=organization, name=f"key {number}")
        notes.add(
            about=owner, kind=Note.Kind.REMARK, text=f"note {number}", is_pinned=True, actor=Actor(staff)
        )

    with django_assert_max_num_queries(32):
        back_office.get(page(owner))


def test_a_name_is_changed_and_that_is_recorded(back_office: Client, owner: User) -> None:
    management = {
        f"{prefix}-{field}": "0"
        for prefix in ("notes", "memberships", "personal_keys")
        for field in ("TOTAL_FORMS", "INITIAL_FORMS")
    }

    back_office.post(
        page(owner), {"name": "O. Ner", "email": "other@example.com", "is_superuser": "on"} | management
    )

    owner.refresh_from_db()
    assert (owner.name, owner.email, owner.is_superuser) == ("O. Ner", "olivia@example.com", False)
    assert AuditEntry.objects.get(action=audit.Action.USER_UPDATED).after == {"name": "O. Ner"}


def test_what_was_read_of_a_deleted_person_cannot_be_acted_on(back_office: Client, outsider: User) -> None:
    User.objects.filter(pk=outsider.pk).update(deleted_at=timezone.now() - timedelta(days=1))

    assert act(back_office, outsider, "switch_off") == 403
