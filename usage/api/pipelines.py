"""The API of pipeline drafts, and what the Studio fetches one by."""

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, SignatureExpired
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import actor_of
from accounts.api.base import (
    ORG_ID,
    Conflict,
    OrganizationRequest,
    PageQuery,
    Person,
    page_of,
    page_schema,
    read_body,
    read_query,
)
from accounts.permissions import Permission
from usage import configurations, pipeline_schema, pipelines, reports
from usage.models import JobType, PipelineDraft

_LINE: dict[str, Any] = {
    "id": "pip_2nXw8rTfZ0aYcQ5LbKdM",
    "name": "Invoices, with positions",
    "type": "Parse",
    "job_id": "0b7c0a52-4c1c-4f5e-9a3c-0f6f5f0f9d55",
    "version": 2,
    "created_by": {"id": "usr_4kQm9sTfZ0aYcQ5LbKdM", "name": "Olivia", "email": "olivia@example.com"},
    "created_at": "2026-06-18T09:30:00.000000Z",
    "updated_at": "2026-06-18T09:42:11.512000Z",
}
_DRAFT = _LINE | {
    "config": {"options": {"ocr": "always"}, "output": {"format": "blocks", "positions": True}},
    "original_config": {"options": {"ocr": "auto"}},
    "warnings": [{"path": "output.positions", "message": "is not a field that is known here"}],
}


class DraftLine(serializers.ModelSerializer[PipelineDraft]):
    """A draft as the list shows it, without what it says."""

    id = serializers.CharField(source="uid")
    job_id = serializers.SerializerMethodField(help_text="The job it was taken from.")
    created_by = Person(allow_null=True)

    class Meta:
        model = PipelineDraft
        fields = list(_LINE)

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_job_id(self, draft: PipelineDraft) -> str | None:
        return draft.job_id or None


class Warning(serializers.Serializer[Any]):
    path = serializers.CharField(help_text="Which field, such as `options.pages` or `steps[0].parse`.")
    message = serializers.CharField()


class DraftDetail(DraftLine):
    config = serializers.SerializerMethodField()
    original_config = serializers.SerializerMethodField(
        help_text="What the job ran with; null for a draft that was written anew."
    )
    warnings = serializers.SerializerMethodField(
        help_text="Fields that are not known, or not as they should be. They hinder nothing."
    )

    class Meta(DraftLine.Meta):
        fields = list(_DRAFT)

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_config(self, draft: PipelineDraft) -> Any:
        return json.loads(draft.text)

    @extend_schema_field(serializers.DictField(allow_null=True))
    def get_original_config(self, draft: PipelineDraft) -> Any:
        return json.loads(draft.original) if draft.original else None

    @extend_schema_field(Warning(many=True))
    def get_warnings(self, draft: PipelineDraft) -> Any:
        found = pipeline_schema.remarks(json.loads(draft.text), type=draft.type)
        return Warning(found, many=True).data


@extend_schema_field({"type": ["object", "string"]})
class ConfigField(serializers.Field[str, Any, Any, Any]):
    """A JSON object, or the text of one, as `raw_config` of a job is."""

    def to_internal_value(self, data: Any) -> str:
        try:
            if not isinstance(data, str):
                return configurations.write(data)
            configurations.read(data)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from error
        return data


class DraftChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=pipelines.LONGEST_NAME)
    config = ConfigField(help_text="A JSON object, or its text, such as the `raw_config` of a job.")
    type = serializers.ChoiceField(JobType.choices, required=False)
    version = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The version that was changed: 409 if it is not the latest any more. Without it, the change is made "
        "to whatever there is.",
    )


class NewDraft(serializers.Serializer[Any]):
    job_id = serializers.CharField(
        required=False, max_length=128, trim_whitespace=False, help_text="Take the configuration of this job."
    )
    name = serializers.CharField(
        required=False,
        max_length=pipelines.LONGEST_NAME,
        help_text="Required with `config`; a draft of a job is named after it by default.",
    )
    config = ConfigField(required=False, help_text="A JSON object, or its text; instead of `job_id`.")
    type = serializers.ChoiceField(
        JobType.choices, required=False, help_text="With `config`: which call it is for; Pipeline by default."
    )


_ONE = OpenApiExample("The draft", value=_DRAFT, response_only=True)


class Pipelines(APIView):
    permission = Permission.JOBS_VIEW
    permission_to_change = Permission.PIPELINES_MANAGE

    @extend_schema(
        operation_id="list_pipelines",
        summary="List pipeline drafts",
        description="Newest first, without their configurations.",
        tags=["pipelines"],
        parameters=[PageQuery, ORG_ID],
        responses=page_schema("PipelineList", DraftLine),
        examples=[OpenApiExample("A page", value={"data": [_LINE], "next_cursor": None}, response_only=True)],
    )
    def get(self, request: OrganizationRequest) -> Response:
        return page_of(pipelines.of(request.organization), read_query(PageQuery, request), DraftLine)

    @extend_schema(
        operation_id="create_pipeline",
        summary="Create a pipeline draft",
        description="Either of a job, by `job_id`, or anew, from `name` and `config`. The configuration must be a JSON "
        f"object of at most {configurations.LARGEST // 1024} KB. 409 when the organization keeps "
        f"{pipelines.MOST:,} drafts already.",
        tags=["pipelines"],
        parameters=[ORG_ID],
        request=NewDraft,
        responses={201: DraftDetail},
        examples=[
            OpenApiExample("Of a job", value={"job_id": _LINE["job_id"]}, request_only=True),
            OpenApiExample(
                "Anew",
                value={"name": _LINE["name"], "type": "Parse", "config": _DRAFT["config"]},
                request_only=True,
            ),
            _ONE,
        ],
    )
    def post(self, request: OrganizationRequest) -> Response:
        asked = read_body(NewDraft, request)
        try:
            draft = _create(request, asked)
        except pipelines.TooMany as error:
            raise Conflict(f"An organization keeps at most {pipelines.MOST:,} drafts.") from error
        except ValidationError as error:
            raise _renamed(error) from error
        return Response(DraftDetail(draft).data, status=201)


def _create(request: OrganizationRequest, asked: dict[str, Any]) -> PipelineDraft:
    by: dict[str, Any] = {"organization": request.organization, "actor": actor_of(request)}
    if "job_id" not in asked:
        for name in ("name", "config"):
            if name not in asked:
                raise serializers.ValidationError({name: "Give a job_id, or a name and a config."})
        text = asked.pop("config")
        return pipelines.create(**by, text=text, **asked)
    for name in ("config", "type"):
        if name in asked:
            raise serializers.ValidationError(
                {name: "The job has its own: give a job_id, or a name and a config."}
            )
    job = reports.job(request.organization, asked["job_id"])
    if job is None:
        raise serializers.ValidationError({"job_id": "There is no such job in this organization."})
    try:
        return pipelines.create_from_job(**by, job=job, name=asked.get("name", ""))
    except pipelines.NoConfiguration as error:
        said = "was erased" if job.erased and "configuration" in job.erased else "was not reported"
        raise serializers.ValidationError({"job_id": f"The configuration of this job {said}."}) from error


class PipelineById(APIView):
    permission = Permission.JOBS_VIEW
    permission_to_change = Permission.PIPELINES_MANAGE

    @extend_schema(
        operation_id="get_pipeline",
        summary="Get a pipeline draft",
        tags=["pipelines"],
        parameters=[ORG_ID],
        responses=DraftDetail,
        examples=[_ONE],
    )
    def get(self, request: OrganizationRequest, draft_uid: str) -> Response:
        return Response(DraftDetail(_find(request, draft_uid)).data)

    @extend_schema(
        operation_id="update_pipeline",
        summary="Change a pipeline draft",
        description="Fields that are left out stay as they are. Each change counts `version` up. Send the `version` "
        "that you read, and what somebody else changed meanwhile is not overwritten: that is answered with 409.",
        tags=["pipelines"],
        parameters=[ORG_ID],
        request=DraftChange(partial=True),
        responses=DraftDetail,
        examples=[
            OpenApiExample("Change it", value={"config": _DRAFT["config"], "version": 1}, request_only=True),
            _ONE,
        ],
    )
    def patch(self, request: OrganizationRequest, draft_uid: str) -> Response:
        draft = _find(request, draft_uid)
        changes = read_body(DraftChange, request, partial=True)
        version = changes.pop("version", None)
        if "config" in changes:
            changes["text"] = changes.pop("config")
        try:
            draft = pipelines.update(draft=draft, changes=changes, version=version, actor=actor_of(request))
        except PipelineDraft.DoesNotExist:
            raise Http404 from None
        except pipelines.Changed as conflict:
            raise Conflict(
                {"version": f"It has been changed since: the latest version is {conflict.draft.version}."}
            ) from conflict
        except ValidationError as error:
            raise _renamed(error) from error
        return Response(DraftDetail(draft).data)

    @extend_schema(
        operation_id="delete_pipeline",
        summary="Delete a pipeline draft",
        tags=["pipelines"],
        parameters=[ORG_ID],
        responses={204: None},
    )
    def delete(self, request: OrganizationRequest, draft_uid: str) -> Response:
        pipelines.delete(draft=_find(request, draft_uid), actor=actor_of(request))
        return Response(status=204)


def _find(request: OrganizationRequest, draft_uid: str) -> PipelineDraft:
    drafts = PipelineDraft.objects.filter(organization=request.organization).select_related("created_by")
    return get_object_or_404(drafts, uid=draft_uid)


def _renamed(error: ValidationError) -> ValidationError:
    """A domain function's complaint by the names that the API uses."""
    return ValidationError(
        {"config" if name == "text" else name: said for name, said in error.message_dict.items()}
    )


# ── The Studio ───────────────────────────────────────────────────────────────────────────────────────────────


class Gone(APIException):
    status_code = 410
    default_code = "gone"
    default_detail = "This token has expired: open the draft in the Studio again."


class HandedOver(serializers.ModelSerializer[PipelineDraft]):
    """A draft as the Studio gets it."""

    id = serializers.CharField(source="uid")
    organization_id = serializers.CharField(source="organization.uid")
    config = serializers.SerializerMethodField()

    class Meta:
        model = PipelineDraft
        fields = ["id", "organization_id", "name", "type", "version", "config"]

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_config(self, draft: PipelineDraft) -> Any:
        return json.loads(draft.text)


class PipelineByToken(APIView):
    """What whoever holds a token may read: that one draft, for an hour."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="get_pipeline_by_token",
        summary="Get a pipeline draft, for the Studio",
        description="“Open in the Studio” sends people to `STUDIO_URL?draft=<token>`. With the token alone the Studio "
        "reads the draft, also from a browser. It lasts for an hour: then 410. 404 for any other token.",
        tags=["pipelines"],
        auth=[],
        parameters=[
            OpenApiParameter("token", str, OpenApiParameter.PATH, description="As it came in `draft`.")
        ],
        responses=HandedOver,
        examples=[
            OpenApiExample(
                "The draft",
                value={
                    "id": _LINE["id"],
                    "organization_id": "org_3kTq7sTfZ0aYcQ5LbKdM",
                    "name": _LINE["name"],
                    "type": "Parse",
                    "version": 2,
                    "config": _DRAFT["config"],
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: Request, token: str) -> Response:
        try:
            draft = pipelines.of_token(token)
        except SignatureExpired as error:
            raise Gone from error
        except (BadSignature, PipelineDraft.DoesNotExist):
            raise Http404("There is no draft for this token.") from None
        response = Response(HandedOver(draft).data, headers={"Cache-Control": "no-store"})
        studio = urlsplit(settings.STUDIO_URL)
        if studio.netloc:
            response["Access-Control-Allow-Origin"] = f"{studio.scheme}://{studio.netloc}"
        return response
