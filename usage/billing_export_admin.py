"""The files of the air-gapped billing export, for the staff: what was made, and a new link to each."""

from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display

from accounts.access import actor_of
from accounts.admin_base import ReadOnlyAdmin, colleague
from usage import billing_export
from usage.models import BillingExportFile


@admin.register(BillingExportFile)
class BillingExportFileAdmin(ReadOnlyAdmin[BillingExportFile]):
    list_display = (
        "number",
        "file",
        "records",
        "usage_from",
        "usage_to",
        "size_in_words",
        "rows_are",
        "created_at",
    )
    list_filter = ("deleted_rows",)
    ordering = ("-number",)
    sortable_by = ("number", "records", "usage_from", "usage_to", "size_in_words")
    search_fields = ("=number", "name", "=sha256")
    search_help_text = "A number, a part of the name, or a SHA-256"
    fieldsets = (
        (None, {"fields": ("number", "name", "records", "rows_are", "created_at")}),
        ("Usage", {"fields": ("usage_from", "usage_to")}),
        ("Content", {"fields": ("size_in_words", "digest")}),
    )
    actions_detail = ("new_link",)

    @admin.display(description="file")
    def file(self, file: BillingExportFile) -> str:
        return PurePosixPath(file.name).name

    @admin.display(description="records", ordering="num_records")
    def records(self, file: BillingExportFile) -> str:
        return f"{file.num_records:,}"

    @admin.display(description="usage from", ordering="first_timestamp")
    def usage_from(self, file: BillingExportFile) -> datetime:
        return file.first_timestamp

    @admin.display(description="usage to", ordering="last_timestamp")
    def usage_to(self, file: BillingExportFile) -> datetime:
        return file.last_timestamp

    @admin.display(description="size", ordering="size")
    def size_in_words(self, file: BillingExportFile) -> str:
        return filesizeformat(file.size)

    @admin.display(description="SHA-256")
    def digest(self, file: BillingExportFile) -> str:
        return format_html('<span class="break-all">{}</span>', file.sha256)

    @display(  # type: ignore[untyped-decorator]
        description="rows", label={"deleted": "success", "still queued": "info"}
    )
    def rows_are(self, file: BillingExportFile) -> str:
        return "deleted" if file.deleted_rows else "still queued"

    def has_link_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return colleague(request).has_perm("usage.view_billingexportfile")

    @action(  # type: ignore[untyped-decorator]
        description="New link",
        permissions=["link"],
        dialog={
            "title": "Make a new link?",
            "description": "Whoever has the link can download the file for six days.",
            "form_class": None,
            "form_submit_text": "Make a link",
        },
    )
    def new_link(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        file = get_object_or_404(BillingExportFile, pk=object_id)
        try:
            links = billing_export.new_links(file, actor=actor_of(request))
        except billing_export.Gone:
            messages.error(request, "The file is no longer in the storage.")
        except billing_export.NotStored as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request,
                format_html(
                    'Download or copy the link to <a class="underline" href="{}">the file</a> and to '
                    '<a class="underline" href="{}">its manifest</a>. Both work for six days.',
                    links.file,
                    links.manifest,
                ),
            )
        return HttpResponse(
            headers={"HX-Redirect": reverse("admin:usage_billingexportfile_change", args=[file.pk])}
        )
