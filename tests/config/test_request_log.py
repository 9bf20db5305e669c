"""The id of a request on every line that it causes, its own line, and lines as JSON."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import links, secrets
from accounts.models import ApiKey, Organization, User
from accounts.redaction import WithoutSecrets
from accounts.tasks import save_last_used
from config import logs
from config.celery import app
from tests.accounts.looking import begin

Json = dict[str, Any]


class Lines(logging.Handler):
    """What would be written, as the console's handler does it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addFilter(WithoutSecrets())
        self.setFormatter(logs.JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def of(self, logger: str) -> list[Json]:
        return [line for line in map(json.loads, self.texts) if line["logger"] == logger]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root, requests = Lines(), logging.getLogger(), logging.getLogger("countinghouse.requests")
    levels = root.level, requests.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    requests.setLevel(logging.NOTSET)
    yield handler
    root.removeHandler(handler)
    root.setLevel(levels[0])
    requests.setLevel(levels[1])


def line(lines: Lines) -> Json:
    [found] = lines.of("countinghouse.requests")
    return found


# ── Ids ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_answer_bears_an_id_of_its_own(client: Client, db: None) -> None:
    ids = {client.get("/healthz")["X-Request-ID"] for _ in range(2)}

    assert len(ids) == 2
    assert all(len(each) == 22 for each in ids)


@pytest.mark.parametrize("given", ["abc-1.2_3", "a" * 64, "0123456789abcdef0123456789abcdef"])
def test_an_id_that_comes_along_is_kept(client: Client, db: None, lines: Lines, given: str) -> None:
    response = client.get("/healthz", headers={"X-Request-ID": given})

    assert response["X-Request-ID"] == line(lines)["request_id"] == given


@pytest.mark.parametrize(
    "given",
    ["", "a" * 65, "a b", "a\r\nb", "é", "a;b", pytest.param(secrets.generate("x").plaintext, id="a key")],
)
def test_an_id_unfit_for_a_log_is_replaced(client: Client, db: None, given: str) -> None:
    response = client.get("/healthz", headers={"X-Request-ID": given})

    assert len(response["X-Request-ID"]) == 22


def test_all_lines_of_a_request_bear_its_id(client: Client, db: None, lines: Lines) -> None:
    own_id = client.get("/nowhere")["X-Request-ID"]

    assert {each["request_id"] for each in map(json.loads, lines.texts)} == {own_id}
    assert len(lines.texts) == 2


def test_after_a_request_lines_have_no_id(client: Client, db: None, lines: Lines) -> None:
    client.get("/healthz")
    logging.getLogger("later").warning("x")

    assert "request_id" not in lines.of("later")[0]


def test_an_error_of_the_middleware_below_leaves_no_id(rf: RequestFactory) -> None:
    def broken(_: HttpRequest) -> HttpResponse:
        raise ValueError

    with pytest.raises(ValueError):
        logs.log_requests(broken)(rf.get("/"))

    assert logs.request_id() == ""


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def in_request() -> Iterator[str]:
    before = logs._request_id.set("the-id")
    yield "the-id"
    logs._request_id.reset(before)


def test_a_queued_task_bears_the_id_of_its_request(in_request: str, clean_redis: Any) -> None:
    app.send_task("nothing.at.all")

    [message] = clean_redis.lrange(app.conf.task_default_queue, 0, -1)
    assert json.loads(message)["headers"]["request_id"] == in_request


def test_a_task_that_no_request_queued_bears_none(clean_redis: Any) -> None:
    app.send_task("nothing.at.all")

    [message] = clean_redis.lrange(app.conf.task_default_queue, 0, -1)
    assert "request_id" not in json.loads(message)["headers"]


def test_a_worker_takes_the_id_up_and_puts_it_down() -> None:
    task: Any = save_last_used
    task.push_request(request_id="the-id")

    signals.task_prerun.send(sender=task, task=task, task_id="1", args=[], kwargs={})
    during = logs.request_id()
    signals.task_postrun.send(sender=task, task=task, task_id="1", args=[], kwargs={}, retval=None, state="")
    task.pop_request()

    assert (during, logs.request_id()) == ("the-id", "")


# ── The line of a request ────────────────────────────────────────────────────────────────────────────────────
def test_a_page_tells_who_and_for_which_organization(
    client: Client, lines: Lines, organization: Organization, owner: User
) -> None:
    client.force_login(owner)
    path = reverse("accounts:team", args=[organization.uid])

    client.get(path + "?secret=1")

    found = line(lines)
    assert (found["organization"], found["user"]) == (organization.uid, owner.uid)
    assert (found["method"], found["path"], found["status"]) == ("GET", path, 200)
    assert 0 < found["duration"] < 60
    assert "key" not in found
    assert "secret" not in str(found)


def test_a_call_of_the_api_tells_its_key_by_its_prefix(
    client: Client, lines: Lines, personal_key: tuple[ApiKey, str], organization: Organization, owner: User
) -> None:
    key, plaintext = personal_key

    client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {plaintext}"})

    found = line(lines)
    assert (found["key"], found["organization"], found["user"]) == (key.prefix, organization.uid, owner.uid)
    assert plaintext not in "".join(lines.texts)


def test_the_gateway_tells_its_service_key_by_its_prefix(
    data_plane: Client, lines: Lines, service_key: tuple[ApiKey, str]
) -> None:
    data_plane.post("/api/v1/gateway/jobs", {"jobs": []}, content_type="application/json")

    assert line(lines)["key"] == service_key[0].prefix
    assert service_key[1] not in "".join(lines.texts)


def test_of_the_staff_who_look_as_a_member_both_are_told(
    lines: Lines, staff: User, organization: Organization, member: User
) -> None:
    looking = begin(staff, organization, member)
    lines.texts.clear()

    looking.get(reverse("accounts:team", args=[organization.uid]))

    found = line(lines)
    assert (found["status"], found["user"], found["looking"]) == (200, member.uid, staff.uid)


def test_telling_who_asks_the_database_nothing(
    client: Client, lines: Lines, owner: User, django_assert_num_queries: Any
) -> None:
    client.force_login(owner)

    with django_assert_num_queries(0):
        client.get("/healthz")

    assert "user" not in line(lines)


def test_a_path_brings_no_secret_and_no_second_line(client: Client, db: None, lines: Lines) -> None:
    token, _ = links.new_token()
    key = secrets.generate("production").plaintext

    client.get(f"/invitations/{token}/")
    client.get(f"/nowhere/{key}/%0A%7B%22forged%22: 1")

    written = "".join(lines.texts)
    assert token not in written
    assert key not in written
    assert all("\n" not in text for text in lines.texts)
    assert lines.of("countinghouse.requests")[1]["path"].endswith("/%0A%7B%22forged%22:%201")


def test_it_is_off_where_its_level_says_so(client: Client, db: None, lines: Lines) -> None:
    logging.getLogger("countinghouse.requests").setLevel(logging.WARNING)

    client.get("/healthz")

    assert lines.texts == []


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_line_is_one_object_with_its_traceback(lines: Lines) -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        logging.getLogger("x").error("it %s", "broke", exc_info=sys.exc_info())

    [found] = lines.of("x")
    assert (found["level"], found["message"]) == ("ERROR", "it broke")
    assert found["time"].endswith("Z")
    assert "ValueError: broken\nin two" in found["exception"]
    assert "\n" not in lines.texts[0]
