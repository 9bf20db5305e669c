"""The request log's pages."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts import keys
from accounts.audit import Actor
from accounts.models import ApiKey, Organization, User
from tests.usage.rows import NOON, daily_jobs, job_row
from usage.views import request_log


@pytest.fixture
def key(organization_key: tuple[ApiKey, str]) -> ApiKey:
    return organization_key[0]


@pytest.fixture
def page(client: Client, viewer: User, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(request_log, "PAGE", 3)
    client.force_login(viewer)
    return client


@pytest.fixture
def url(organization: Organization) -> str:
    return f"/o/{organization.uid}/jobs/"


def shown(page: Client, url: str, **query: Any) -> Any:
    response = page.get(url, query)
    assert response.status_code == 200
    return response.context


def ids(context: Any) -> list[str]:
    return [entry.job.job_id for entry in context["entries"]]


def test_line_tells_what_was_asked(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, duration=75.2, num_pages=1200, credits="0.000125")

    html = page.get(url).content.decode()

    for text in ("job-1", "1 min 15 s", "Parse", "Completed", "1,200", "0.000125", "EU", "production"):
        assert text in html


def test_log_can_be_walked_to_its_end_and_back(page: Client, url: str, key: ApiKey) -> None:
    expected = [f"job-{number}" for number in range(8)]
    for number in reversed(range(8)):
        job_row(key, f"job-{number}", created_at=NOON - timedelta(seconds=number // 4))

    context = shown(page, url)
    seen = ids(context)
    while context["older"]:
        context = shown(page, url + context["older"])
        seen += ids(context)
    back = ids(context)
    while context["newer"]:
        context = shown(page, url + context["newer"])
        back = ids(context) + back

    assert seen == expected
    assert back == expected


def test_first_page_offers_nothing_newer(page: Client, url: str, key: ApiKey) -> None:
    job_row(key)

    context = shown(page, url)

    assert (context["newer"], context["older"], context["is_newest"]) == ("", "", True)


def test_regions_to_choose_from_are_those_jobs_ran_in(page: Client, url: str, key: ApiKey) -> None:
    daily_jobs(key, "us")
    daily_jobs(key, "eu")
    daily_jobs(key, "")

    assert shown(page, url)["regions"] == ["eu", "us"]


def test_region_filter_keeps_its_jobs_and_stays_in_the_addresses(page: Client, url: str, key: ApiKey) -> None:
    daily_jobs(key, "us")
    for number in range(5):
        job_row(key, f"eu-{number}")
        job_row(key, f"us-{number}", region="us")

    context = shown(page, url, region="us")

    assert len(ids(context)) == 3
    assert all(job_id.startswith("us") for job_id in ids(context))
    assert "region=us" in context["older"]


def test_key_filter_keeps_its_jobs(
    page: Client, url: str, key: ApiKey, organization: Organization, owner: User
) -> None:
    second, _ = keys.create_organization_key(organization=organization, name="staging", actor=Actor(owner))
    job_row(key, "first")
    job_row(second, "second")

    assert ids(shown(page, url, api_key=second.uid)) == ["second"]


@pytest.mark.parametrize("name", ["region", "api_key", "type", "status"])
@pytest.mark.parametrize("value", ["nonsense", "\0", "<script>"])
def test_senseless_filters_are_told_and_left_out(
    page: Client, url: str, key: ApiKey, name: str, value: str
) -> None:
    job_row(key)

    response = page.get(url, {name: value})

    assert response.status_code == 400
    assert f"There is no such {request_log.LABELS[name]}." in response.content.decode()
    assert ids(response.context) == ["job-1"]


def test_senseless_filter_is_also_told_to_the_page_itself(page: Client, url: str, key: ApiKey) -> None:
    response = page.get(url, {"status": "Nope"}, headers={"HX-Request": "true"})

    assert response.status_code == 200
    assert "There is no such status." in response.content.decode()


@pytest.mark.parametrize("name", ["older_than", "newer_than"])
def test_place_that_was_not_made_here_is_refused(page: Client, url: str, name: str) -> None:
    assert page.get(url, {name: "nonsense"}).status_code == 400


def test_job_whose_key_is_gone_is_still_listed(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, api_key_id=10**12)

    assert ids(shown(page, url)) == ["job-1"]
    assert page.get(f"{url}job-1/").status_code == 200


def test_another_organizations_jobs_never_show(
    page: Client, url: str, other_organization: Organization, outsider: User
) -> None:
    foreign, _ = keys.create_organization_key(
        organization=other_organization, name="x", actor=Actor(outsider)
    )
    job_row(foreign)
    daily_jobs(foreign, "moon")

    context = shown(page, url)

    assert ids(context) == []
    assert context["regions"] == []
    assert page.get(f"{url}job-1/").status_code == 404


def test_queries_do_not_grow_with_the_page(
    page: Client,
    url: str,
    key: ApiKey,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:
    monkeypatch.setattr(request_log, "PAGE", 50)
    for number in range(51):
        job_row(key, f"job-{number}")
    page.get(url)

    with django_assert_max_num_queries(8):
        page.get(url)


@pytest.mark.parametrize("job_id", ["a/b", "100%", "a b?c#d", "line\nbreak", "ünï", "'\"<b>"])
def test_job_has_a_page_whatever_its_id(page: Client, url: str, key: ApiKey, job_id: str) -> None:
    job_row(key, job_id)

    assert quote(job_id, safe="/:@!$&'()*+,;=~") in page.get(url).content.decode().replace("&#x27;", "'")
    assert page.get(f"{url}{quote(job_id)}/").context["job"].job_id == job_id


@pytest.mark.parametrize("job_id", ["unknown", "%00", "%ff", "a/b"])
def test_unknown_job_is_not_found(page: Client, url: str, job_id: str) -> None:
    assert page.get(f"{url}{job_id}/").status_code == 404


def test_job_shows_its_configuration_as_json(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, config={"tables": {"format": "html"}, "words": "größer"})

    html = page.get(f"{url}job-1/").content.decode()

    assert "&quot;tables&quot;: {\n    &quot;format&quot;: &quot;html&quot;\n  }" in html
    assert "größer" in html


def test_job_says_when_no_configuration_was_reported(page: Client, url: str, key: ApiKey) -> None:
    job_row(key)

    assert "No configuration was reported." in page.get(f"{url}job-1/").content.decode()


@pytest.mark.parametrize("error", ["It broke <here>.", {"code": "bad_file", "page": 3}])
def test_failed_job_says_why(page: Client, url: str, key: ApiKey, error: Any) -> None:
    job_row(key, status="Failed", error=error)

    html = page.get(f"{url}job-1/").content.decode()

    assert "Why it failed" in html
    assert "It broke &lt;here&gt;." in html or "bad_file" in html


def test_job_shows_what_it_was_charged_and_what_was_taken_back(
    page: Client, url: str, post_jobs: Any, job: Any
) -> None:
    post_jobs(job(status="InProgress"))
    post_jobs(job(status="Failed", usage=[]))

    response = page.get(f"{url}job-1/")

    assert [charge.record.credits for charge in response.context["charges"]] == [3, -3]
    assert "The job failed." in response.content.decode()


def test_unfinished_job_has_a_page_too(page: Client, url: str, key: ApiKey) -> None:
    job_row(key, status="Pending", stage=0, duration=None, num_pages=None, total_pages=None, region="")

    assert "Reported as pending" in page.get(f"{url}job-1/").content.decode()
