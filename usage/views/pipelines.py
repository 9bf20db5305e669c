"""The pages of pipelines: a job's configuration taken as a draft, looked at, changed, kept, handed to the Studio."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import cursors
from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from accounts.views.api_keys import variable
from usage import configurations, pipeline_calls, pipeline_schema, pipelines, reports
from usage.models import PipelineDraft
from usage.pipeline_difference import Difference, difference
from usage.pipeline_forms import DraftForm

PAGE = 50
_TOO_MANY = f"An organization keeps at most {pipelines.MOST:,} drafts: delete one first."


@member_page(Permission.JOBS_VIEW, for_support=True)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """The drafts that the organization keeps, newest first."""
    older_than = cursors.in_address(request.GET)
    drafts, older = cursors.page(pipelines.of(request.organization), limit=PAGE, older_than=older_than)
    return render(
        request,
        "usage/pipelines.html",
        {
            "drafts": drafts,
            "older": f"?older_than={older}" if older else "",
            "is_first_page": older_than is None,
            "may_manage": request.may(Permission.PIPELINES_MANAGE),
        },
    )


@member_page(Permission.PIPELINES_MANAGE)
@require_POST
def preview(request: MemberRequest, job_id: str) -> HttpResponse:
    """Recreate a job's configuration as a new draft."""
    job = reports.job(request.organization, job_id)
    if job is None:
        raise Http404
    try:
        draft = pipelines.create_from_job(organization=request.organization, job=job, actor=actor_of(request))
    except pipelines.NoConfiguration:
        messages.error(request, "There is no configuration of this job to preview.")
    except pipelines.TooMany:
        messages.error(request, _TOO_MANY)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, "This draft is a copy: change it as you like. The job stays as it is.")
        return redirect("usage:pipeline", request.organization.uid, draft.uid)
    return redirect("usage:job", request.organization.uid, job.job_id)


@member_page(Permission.PIPELINES_MANAGE)
@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    """Write a draft anew."""
    form = DraftForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            draft = pipelines.create(
                organization=request.organization, actor=actor_of(request), **form.values()
            )
        except pipelines.TooMany:
            form.add_error(None, _TOO_MANY)
            status = 409
        except ValidationError as error:
            form.refuse(error)
        else:
            messages.success(request, "The draft is kept.")
            return redirect("usage:pipeline", request.organization.uid, draft.uid)
    if form.errors and status == 200:
        status = 400
    return render(request, "usage/create_pipeline.html", {"form": form}, status=status)


@member_page(Permission.JOBS_VIEW, for_support=True)
@require_safe
def detail(request: MemberRequest, draft_uid: str) -> HttpResponse:
    """A draft: what it says, what may be wrong with it, what differs from its original, and how to call it."""
    draft = _find(request, draft_uid)
    return _page(request, draft, DraftForm(draft=draft))


@member_page(Permission.PIPELINES_MANAGE)
@require_POST
def save(request: MemberRequest, draft_uid: str) -> HttpResponse:
    """Keep what was typed, unless somebody else has changed the draft meanwhile."""
    draft = _find(request, draft_uid)
    form = DraftForm(request.POST)
    if not form.is_valid():
        return _page(request, draft, form, status=400)
    try:
        pipelines.update(
            draft=draft,
            changes=form.values(),
            actor=actor_of(request),
            version=form.cleaned_data["version"] or 0,
        )
    except PipelineDraft.DoesNotExist:
        raise Http404 from None
    except ValidationError as error:
        form.refuse(error)
        return _page(request, draft, form, status=400)
    except pipelines.Changed as conflict:
        return _conflict(request, conflict.draft, form)
    messages.success(request, "Saved.")
    return redirect("usage:pipeline", request.organization.uid, draft.uid)


@member_page(Permission.PIPELINES_MANAGE)
@require_POST
def check(request: MemberRequest, draft_uid: str) -> HttpResponse:
    """Show what was typed as the draft's page would, without keeping it."""
    draft = _find(request, draft_uid)
    form = DraftForm(request.POST)
    form.is_valid()
    return _page(request, draft, form, is_check=True, status=400 if form.errors else 200)


@member_page(Permission.PIPELINES_MANAGE)
@require_http_methods(["GET", "POST"])
def delete(request: MemberRequest, draft_uid: str) -> HttpResponse:
    """Ask once, and on POST delete the draft."""
    draft = _find(request, draft_uid)
    if request.method == "GET":
        return render(request, "usage/delete_pipeline.html", {"draft": draft})
    pipelines.delete(draft=draft, actor=actor_of(request))
    messages.success(request, "The draft is deleted.")
    return redirect("usage:pipelines", request.organization.uid)


@member_page(Permission.JOBS_VIEW)
@require_safe
def studio(request: MemberRequest, draft_uid: str) -> HttpResponse:
    """On to the Studio, with a token by which it can fetch this draft for an hour."""
    draft = _find(request, draft_uid)
    if not settings.STUDIO_URL:
        messages.error(request, "There is no Studio to open it in.")
        return redirect("usage:pipeline", request.organization.uid, draft.uid)
    return redirect(pipelines.studio_address(draft, user=request.user))


def _find(request: MemberRequest, draft_uid: str) -> PipelineDraft:
    drafts = PipelineDraft.objects.filter(organization=request.organization)
    return get_object_or_404(drafts.select_related("created_by"), uid=draft_uid)


def _conflict(request: MemberRequest, draft: PipelineDraft, form: DraftForm) -> HttpResponse:
    """What was typed is kept in the form, beside what somebody else has saved; saving again replaces that."""
    form.data = request.POST.copy()
    form.data["version"] = str(draft.version)
    form.add_error(
        None,
        "Somebody else saved this draft while you were editing it. What you typed is kept below, and the difference is "
        "to what they saved. Save again to replace theirs, or open the draft anew to drop yours.",
    )
    return _page(request, draft, form, compare_to=draft.text, is_conflict=True, status=409)


def _page(
    request: MemberRequest,
    draft: PipelineDraft,
    form: DraftForm,
    *,
    compare_to: str = "",
    is_check: bool = False,
    is_conflict: bool = False,
    status: int = 200,
) -> HttpResponse:
    """The page of a draft. It shows what was typed, where that can be read, or else what is kept."""
    is_typed = form.is_bound and not ("text" in form.errors or "type" in form.errors)
    text = form.cleaned_data["text"] if is_typed else draft.text
    type = form.cleaned_data["type"] if is_typed else draft.type
    config = configurations.read(text)
    called: dict[str, Any] = {"type": type, "variable": variable()}
    return render(
        request,
        "usage/pipeline.html",
        {
            "draft": draft,
            "form": form,
            "may_manage": request.may(Permission.PIPELINES_MANAGE),
            "is_check": is_check and not form.errors,
            "is_conflict": is_conflict,
            "is_as_saved": form.is_bound and not is_typed,
            "type_is_known": pipeline_schema.is_known(type),
            "remarks": pipeline_schema.remarks(config, type=type),
            "steps": configurations.steps(config),
            "difference": _difference(compare_to or draft.original, config),
            "json": configurations.pretty(config),
            "variable": called["variable"],
            "document": pipeline_calls.DOCUMENT,
            "names_document": "input" not in config,
            "curl": pipeline_calls.curl(config, **called),
            "python": pipeline_calls.python(config, **called),
        },
        status=status,
    )


def _difference(before: str, config: dict[str, Any]) -> Difference | None:
    """To what it was; how either is laid out makes none."""
    if not before:
        return None
    laid_out = configurations.pretty(configurations.read(before))
    return difference(laid_out, configurations.pretty(config))
