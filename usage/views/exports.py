"""Usage as CSV: at once, or made in the background and fetched later."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.access import MemberRequest, actor_of, member_page
from accounts.permissions import Permission
from usage import export_files, exports, reports
from usage.export_files import AlreadyFinished, NotFinished, State, TooManyUnfinished
from usage.exports import Export, TooMany
from usage.filter_forms import ExportForm
from usage.models import UsageExportFile
from usage.tasks import begin_exports

SHOWN = 50


@member_page(Permission.EXPORTS_CREATE)
@require_safe
def csv(request: MemberRequest, kind: str) -> HttpResponseBase:
    """The jobs or records that the address asks for, or all, as a file that is written while it is sent."""
    form = ExportForm(request.GET.dict() | {"kind": kind}, keys=reports.keys(request.organization))
    if not form.is_valid():
        return _page(request, form, status=400)
    try:
        return exports.download(request, Export(request.organization, form.filters))
    except TooMany:
        problem = "Other exports are being downloaded. Wait for one of them, or have this one made for you."
        form.add_error(None, problem)
        return _page(request, form, status=429)


@member_page(Permission.EXPORTS_CREATE)
@require_safe
def listing(request: MemberRequest) -> HttpResponse:
    """What was exported in the background, and the form for more. The address may fill the form."""
    keys = reports.keys(request.organization)
    return _page(request, ExportForm(keys=keys, initial=request.GET.dict()))


@member_page(Permission.EXPORTS_CREATE)
@require_POST
def create(request: MemberRequest) -> HttpResponse:
    form = ExportForm(request.POST, keys=reports.keys(request.organization))
    if not form.is_valid():
        return _page(request, form, status=400)
    try:
        export_files.create(
            organization=request.organization,
            filters=form.filters,
            is_gzipped=form.cleaned_data["is_gzipped"],
            actor=actor_of(request),
        )
    except TooManyUnfinished:
        form.add_error(None, _TOO_MANY)
        return _page(request, form, status=409)
    return _done(request, "Your export is being made. You are told when it is ready.", is_wanted=True)


@member_page(Permission.EXPORTS_CREATE)
@require_safe
def download(request: MemberRequest, export_uid: str) -> HttpResponseBase:
    export = _find(request, export_uid)
    if not export_files.is_there(export):
        messages.error(request, f"This export has no file now: it is {export_files.state(export)}.")
        return redirect("usage:exports", organization_uid=request.organization.uid)
    return export_files.answer(export)


@member_page(Permission.EXPORTS_CREATE)
@require_POST
def cancel(request: MemberRequest, export_uid: str) -> HttpResponse:
    try:
        export_files.cancel(export=_find(request, export_uid), actor=actor_of(request))
    except AlreadyFinished:
        return _done(request, "It had ended already.")
    return _done(request, "The export is cancelled.")


@member_page(Permission.EXPORTS_CREATE)
@require_POST
def retry(request: MemberRequest, export_uid: str) -> HttpResponse:
    try:
        export_files.retry(export=_find(request, export_uid), actor=actor_of(request))
    except AlreadyFinished:
        return _done(request, "Nothing had to be done again.")
    except TooManyUnfinished:
        return _done(request, _TOO_MANY)
    return _done(request, "The export begins anew.", is_wanted=True)


@member_page(Permission.EXPORTS_CREATE)
@require_POST
def delete(request: MemberRequest, export_uid: str) -> HttpResponse:
    try:
        export_files.delete(export=_find(request, export_uid), actor=actor_of(request))
    except NotFinished:
        return _done(request, "It is still being made: cancel it first.")
    return _done(request, "The export is deleted.")


_TOO_MANY = f"{export_files.UNFINISHED} exports are not finished. Wait for one of them, or cancel it."


def _find(request: MemberRequest, uid: str) -> UsageExportFile:
    found = export_files.of(request.organization).filter(uid=uid).select_related("organization").first()
    if found is None:
        raise Http404
    return found


def _done(request: MemberRequest, message: str, *, is_wanted: bool = False) -> HttpResponse:
    if is_wanted:
        begin_exports()
    messages.success(request, message)
    return redirect("usage:exports", organization_uid=request.organization.uid)


def _page(request: MemberRequest, form: ExportForm, *, status: int = 200) -> HttpResponse:
    found = export_files.of(request.organization).select_related("created_by", "organization")[:SHOWN]
    lines = [_line(export) for export in found]
    return render(
        request,
        "usage/exports.html",
        {
            "form": form,
            "lines": lines,
            "are_any_under_way": any(line["is_under_way"] for line in lines),
            "kept_days": export_files.KEPT.days,
        },
        status=status,
    )


def _line(export: UsageExportFile) -> dict[str, Any]:
    is_under_way = export.state in {State.WAITING, State.RUNNING}
    return {
        "export": export,
        "filters": [(_LABELS.get(name, name), value) for name, value in export.filters.items()],
        "state": export_files.state(export),
        "is_under_way": is_under_way,
        "is_there": export_files.is_there(export),
        "may_be_retried": export.state in {State.FAILED, State.CANCELLED},
    }


_LABELS = {
    "since": "from",
    "until": "to",
    "api_key": "key",
    "file_type": "file type",
    "job_id": "job",
    "type": "endpoint",
}
