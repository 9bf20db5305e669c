"""Notes of support: written, pinned as warnings, taken back, and seen by no customer."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts import audit, notes
from accounts.audit import Actor
from accounts.models import ApiKey, AuditEntry, Membership, Note, Organization, User

ADD = "/admin/accounts/note/add/"
LIST = "/admin/accounts/note/"


def change_url(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def blank(client: Client, url: str = ADD) -> dict[str, str]:
    """What the form brings along."""
    return {"form": client.get(url).context["adminform"].form.initial["form"]}


def act(client: Client, note: Note, name: str) -> int:
    url = reverse(f"admin:accounts_note_{name}", args=[note.pk])
    return client.post(url, {"_form_submitted": "True"}).status_code


@pytest.fixture
def write(staff: User) -> Callable[..., Note]:
    def write(about: Organization | User, text: str = "Pays by hand", *, is_pinned: bool = True) -> Note:
        return notes.add(
            about=about, kind=Note.Kind.WARNING, text=text, is_pinned=is_pinned, actor=Actor(staff)
        )

    return write


@pytest.mark.parametrize("page", ["organization", "user"])
def test_a_note_is_written_from_the_page_of_its_subject(
    back_office: Client, organization: Organization, owner: User, staff: User, page: str
) -> None:
    subject = {"organization": organization, "user": owner}[page]
    form = back_office.get(reverse(f"admin:accounts_{page}_write_note", args=[subject.pk]))
    assert str(subject) in back_office.get(form["Location"]).content.decode()

    response = back_office.post(
        form["Location"],
        blank(back_office, form["Location"])
        | {page: subject.pk, "kind": "agreement", "text": "Net 60", "is_pinned": "on"},
    )

    note = Note.objects.get()
    assert response["Location"] == change_url(subject)
    assert getattr(note, page) == subject
    assert (note.kind, note.text, note.is_pinned, note.created_by) == ("agreement", "Net 60", True, staff)
    assert AuditEntry.objects.get(action=audit.Action.NOTE_ADDED).target_uid == note.uid


@pytest.mark.parametrize("about", [set(), {"organization", "user"}])
def test_a_note_is_about_one_thing(
    back_office: Client, organization: Organization, owner: User, about: set[str]
) -> None:
    subjects = {"organization": organization.pk, "user": owner.pk}

    back_office.post(
        ADD,
        blank(back_office)
        | {"kind": "remark", "text": "Hm"}
        | {name: pk for name, pk in subjects.items() if name in about},
    )

    assert not Note.objects.exists()


def test_a_form_sent_twice_writes_one_note(back_office: Client, organization: Organization) -> None:
    said = blank(back_office) | {"organization": organization.pk, "kind": "remark", "text": "Hm"}

    back_office.post(ADD, said)
    again = back_office.post(ADD, said | {"text": "Hm, again"}, follow=True)

    assert Note.objects.get().text == "Hm"
    assert AuditEntry.objects.filter(action=audit.Action.NOTE_ADDED).count() == 1
    assert "has written its note already" in again.content.decode()


@pytest.mark.parametrize("form", ["", "note_made_up:signature"])
def test_a_note_is_written_only_by_a_form_that_was_made_here(
    back_office: Client, organization: Organization, form: str
) -> None:
    said = {"organization": organization.pk, "kind": "remark", "text": "Hm", "form": form}

    back_office.post(ADD, said)

    assert not Note.objects.exists()


def test_a_warning_is_shown_wherever_its_organization_is(
    back_office: Client,
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    member: User,
    write: Callable[..., Note],
) -> None:
    write(organization, "Never call before ten")
    membership = Membership.objects.get(user=member)

    for row in (organization, organization_key[0], membership, member, organization.entitlement):
        assert "Never call before ten" in back_office.get(change_url(row)).content.decode(), row


def test_a_warning_on_a_person_is_shown_with_them(
    back_office: Client, owner: User, personal_key: tuple[ApiKey, str], write: Callable[..., Note]
) -> None:
    write(owner, "Somebody pretends to be her")

    for row in (owner, personal_key[0]):
        assert "Somebody pretends to be her" in back_office.get(change_url(row)).content.decode()


@pytest.mark.parametrize("act_on", ["accounts_organization_look", "billing_billingaccount_give_credits"])
def test_a_warning_is_shown_where_something_is_done_by_hand(
    back_office: Client, organization: Organization, write: Callable[..., Note], act_on: str
) -> None:
    write(organization, "Never call before ten")

    page = back_office.get(reverse(f"admin:{act_on}", args=[organization.pk])).content.decode()

    assert "Never call before ten" in page


def test_a_notes_own_page_shows_it_once_and_the_other_warnings(
    back_office: Client, organization: Organization, write: Callable[..., Note]
) -> None:
    note = write(organization, "Never call before ten")
    write(organization, "Nor after five")

    page = back_office.get(change_url(note)).content.decode()

    assert page.count("Never call before ten") == 1
    assert "Nor after five" in page


def test_others_rows_show_no_warning_of_it(
    back_office: Client, organization: Organization, outsider: User, write: Callable[..., Note]
) -> None:
    write(organization, "Never call before ten")

    assert "Never call before ten" not in back_office.get(change_url(outsider)).content.decode()


def test_warnings_cost_one_query(
    organization: Organization,
    organization_key: tuple[ApiKey, str],
    service_key: tuple[ApiKey, str],
    write: Callable[..., Note],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(5):
        write(organization, f"warning {number}")

    with django_assert_num_queries(1):
        assert len([str(each) + str(each.created_by) for each in notes.warnings_of(organization_key[0])]) == 5
    with django_assert_num_queries(0):
        assert not notes.warnings_of(service_key[0])


def test_unpinned_it_is_shown_no_longer_and_pinned_it_is_again(
    back_office: Client, organization: Organization, write: Callable[..., Note]
) -> None:
    note = write(organization)

    act(back_office, note, "unpin")
    assert not notes.warnings_of(organization).exists()
    act(back_office, note, "pin")
    assert notes.warnings_of(organization).exists()


def test_taken_back_it_stays_struck_out_and_warns_no_longer(
    back_office: Client, organization: Organization, staff: User, write: Callable[..., Note]
) -> None:
    note = write(organization)

    act(back_office, note, "take_back")

    note.refresh_from_db()
    assert note.removed_by == staff
    assert not notes.warnings_of(organization).exists()
    assert "line-through" in back_office.get(LIST).content.decode()
    assert act(back_office, note, "take_back") == 403
    assert act(back_office, note, "pin") == 403


def test_the_text_of_a_note_is_never_changed(
    back_office: Client, organization: Organization, write: Callable[..., Note]
) -> None:
    note = write(organization)

    assert back_office.post(change_url(note), {"text": "Something else"}).status_code == 403


@pytest.mark.parametrize("by", ["name", "uid"])
def test_notes_are_found_by_what_they_are_about(
    back_office: Client, organization: Organization, owner: User, write: Callable[..., Note], by: str
) -> None:
    write(organization, "about the organization")
    write(owner, "about the person")

    page = back_office.get(LIST, {"q": getattr(organization, by)}).content.decode()

    assert "about the organization" in page
    assert "about the person" not in page


@pytest.mark.parametrize(("state", "shown"), [("standing", "still true"), ("removed", "was wrong")])
def test_the_list_is_narrowed_by_state(
    back_office: Client,
    organization: Organization,
    staff: User,
    write: Callable[..., Note],
    state: str,
    shown: str,
) -> None:
    write(organization, "still true")
    notes.remove(note=write(organization, "was wrong"), actor=Actor(staff))

    page = back_office.get(LIST, {"state": state}).content.decode()

    assert [text for text in ("still true", "was wrong") if text in page] == [shown]


@pytest.mark.parametrize("act_name", ["pin", "take_back"])
def test_whoever_may_only_look_changes_no_note(
    back_office: Client, organization: Organization, staff: User, write: Callable[..., Note], act_name: str
) -> None:
    note = write(organization, is_pinned=False)
    staff.is_superuser = False
    staff.save()
    staff.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))

    assert act(back_office, note, act_name) == 403
    assert back_office.post(ADD, {"organization": organization.pk, "text": "Hm"}).status_code == 403
    assert Note.objects.count() == 1


def test_the_list_costs_the_same_however_long(
    back_office: Client,
    organization: Organization,
    write: Callable[..., Note],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        write(organization, f"note {number}")

    with django_assert_max_num_queries(11):
        back_office.get(LIST)


@pytest.mark.parametrize("id", ["word", "-1", "9" * 40, ""])
def test_what_is_no_id_fills_in_nothing(back_office: Client, id: str) -> None:
    assert back_office.get(reverse("admin:accounts_note_add"), {"organization": id}).status_code == 200
