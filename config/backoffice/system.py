"""The system page: how each part does, the queues, and each periodic task with its last run and a button to run it."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts import runs
from accounts.access import actor_of
from accounts.admin_base import colleague
from accounts.admin_forms import ReasonForm
from config import parts, sweeps, task_runs, waiting

SEE, RUN = "accounts.view_system", "accounts.run_sweep"


def trouble_first(task: task_runs.Periodic) -> tuple[bool, str]:
    return not (task.is_failing or task.is_overdue), task.entry


@require_safe
def system(request: HttpRequest) -> HttpResponse:
    if not colleague(request).has_perm(SEE):
        raise PermissionDenied
    now = timezone.now()
    known = task_runs.read(now=now)
    context = admin.site.each_context(request) | {
        "title": "System",
        "now": now,
        "parts": parts.ask_all(known, now=now),
        "ages": waiting.ages(now=now),
        "tasks": sorted(known.tasks, key=trouble_first),
        "may_run": colleague(request).has_perm(RUN),
    }
    return render(request, "admin/system.html", context)


@require_http_methods(["GET", "POST"])
def run(request: HttpRequest, task: str) -> HttpResponse:
    """Ask once for a reason, and give the task to the queue."""
    if not colleague(request).has_perm(RUN):
        raise PermissionDenied
    known = {each.task: each for each in task_runs.read().tasks}
    if task not in known:
        raise Http404
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _is_queued(request, task, form):
        return redirect("admin:system")
    context = admin.site.each_context(request) | {"title": "Run now", "task": known[task], "form": form}
    return render(request, "admin/run_now.html", context, status=400 if form.errors else 200)


def _is_queued(request: HttpRequest, task: str, form: ReasonForm) -> bool:
    """Give it to the queue; False where the form has to say that the queue is away."""
    try:
        sweeps.run(task=task, reason=form.cleaned_data["reason"], actor=actor_of(request))
    except runs.AskedJustNow:
        messages.warning(request, "It was asked for a moment ago, and is not queued a second time.")
    except sweeps.QueueAway:
        form.add_error(None, "The queue does not answer. Nothing was asked for.")
        return False
    else:
        messages.success(request, "It is queued. A worker takes it up as soon as one is free.")
    return True
