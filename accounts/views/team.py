"""(stub)"""

from typing import Any

from django.http import HttpResponse

from accounts import access
from accounts.permissions import Permission


@access.member_page(Permission.TEAM_VIEW)
def team(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.TEAM_MANAGE)
def invite(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.TEAM_MANAGE)
def resend_invitation(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.TEAM_MANAGE)
def revoke_invitation(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.TEAM_MANAGE)
def member(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.TEAM_MANAGE)
def remove_member(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError


@access.member_page(Permission.ORGANIZATION_VIEW)
def leave(request: Any, **_: Any) -> HttpResponse:
    raise NotImplementedError
