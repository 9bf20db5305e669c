"""Which organization a request is about, and whether it may. Every view declares its access; a test walks them all.

Pages: `@member_page(Permission.…)` finds the organization in the URL. An outsider gets 404, a member without the
permission 403. Support that looks as a member sees the pages that are `for_support`, and is refused all else there.
API views name their `permission`, and `permission_to_change` where changing something needs another; then they find
`request.organization` set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts import impersonation, permissions
from accounts.audit import Actor
from accounts.devices import has_device
from accounts.impersonation import Ended, Look
from accounts.models import ApiKey, Membership, Organization, User
from accounts.permissions import Permission

if TYPE_CHECKING:
    # Loading it loads the default permission class, which is in this module.
    from rest_framework.views import APIView

# The session's key for the organization last looked at: what `/` opens, and what a session's API call means.
LAST_ORGANIZATION = "organization"
ACTIVITY_STEP = timedelta(minutes=5)

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class SignedInRequest(HttpRequest):
    """The request of a page that needs somebody signed in."""

    user: User


class MemberRequest(SignedInRequest):
    """The request of a page of an organization, once `member_page` has let it through."""

    membership: Membership
    memberships: list[Membership]
    organization: Organization
    # None but for support that looks as this member.
    looking: Look | None

    def may(self, permission: Permission) -> bool:
        return permission in self.membership.permissions


def client_ip(request: HttpRequest) -> str | None:
    """Return the address a request comes from, and None where that is no IP address.

    Behind a proxy it is the last in X-Forwarded-For, which the proxy added; those before it are the client's claims.
    """
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY and (forwarded := request.headers.get("x-forwarded-for")):
        address = forwarded.rpartition(",")[2].strip()
    try:
        return str(ip_address(address.partition("%")[0]))  # without IPv6's zone, which no column holds
    except ValueError:
        return None


def actor_of(request: HttpRequest | Request) -> Actor:
    """Who makes the changes of this request: the person signed in, or the key and its owner.

    Never a member whom support looks as.
    """
    plain = request._request if isinstance(request, Request) else request
    key = request.auth if isinstance(request, Request) and isinstance(request.auth, ApiKey) else None
    user = request.user if isinstance(request.user, User) else None
    if looking := getattr(plain, "looking", None):
        user = looking.staff
    return Actor(user=user, ip=client_ip(plain), api_key=key)


def public(view: View) -> View:
    """Say that anybody may open this view."""
    view.access = "public"  # type: ignore[attr-defined]
    return view


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page for anybody who is signed in, about themselves."""
    guarded = login_required(view)
    guarded.access = "signed_in"  # type: ignore[attr-defined]
    return guarded


def member_page(
    permission: Permission, *, for_support: bool = False
) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """A page of the organization named in the URL by `organization_uid`, for members with this permission.

    The membership is read on every request, so somebody removed a moment ago is an outsider now. `for_support` says
    that it changes nothing and reveals no secret, so that support may see it, looking as a member.
    """
    assert permission.endswith(":view") or not for_support

    def decorate(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: Any, organization_uid: str, **kwargs: Any) -> HttpResponseBase:
            try:
                look = impersonation.find(request, organization_uid)
            except Ended as ended:
                return _look_ended(request, ended)
            if look:
                may_see = for_support and request.method in SAFE_METHODS
                shown = partial(view, **kwargs) if may_see else _refused
                return _shown_to_support(request, look, permission, shown)
            # All of them in one question, for the page lists them too.
            memberships = list(Membership.objects.of(request.user).in_order())
            membership = next(
                (each for each in memberships if each.organization.uid == organization_uid), None
            )
            if membership is None:
                raise Http404
            if lacks_two_factor(membership):
                return redirect("accounts:two_factor")
            require(membership, permission)
            request.membership, request.memberships = membership, memberships
            request.organization = membership.organization
            request.may, request.looking = membership.permissions.__contains__, None
            if request.session.get(LAST_ORGANIZATION) != organization_uid:
                request.session[LAST_ORGANIZATION] = organization_uid
            note_activity(membership)
            return view(request, **kwargs)

        page = login_required(guarded)
        page.access, page.for_support = permission, for_support  # type: ignore[attr-defined]
        return page

    return decorate


def _shown_to_support(
    request: Any, look: Look, permission: Permission, view: Callable[[Any], HttpResponseBase]
) -> HttpResponseBase:
    """Answer as the member would be answered whom support looks as, and leave no trace of them.

    Of other organizations of theirs nothing is told. That support has a second factor has been seen to.
    """
    membership, staff = look.membership, request.user
    request.membership, request.memberships = membership, [membership]
    request.organization = membership.organization
    request.may, request.looking = membership.permissions.__contains__, look
    request.user = membership.user
    try:
        with impersonation.reading_only():
            require(membership, permission)
            return view(request)
    finally:
        request.user = staff  # as whom the rest of the way notes and logs the request


def _refused(request: HttpRequest) -> HttpResponseBase:
    return render(request, "accounts/look_refused.html", status=403)


def leave_looks_in_no_cache(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that lets no browser keep what support looks at, pages of errors neither."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if getattr(request, "looking", None):
            add_never_cache_headers(response)
        return response

    return middleware


def _look_ended(request: HttpRequest, ended: Ended) -> HttpResponseBase:
    response = render(request, "accounts/look_ended.html", {"ended": ended}, status=403)
    add_never_cache_headers(response)
    response["HX-Refresh"] = "true"  # a part of a page is asked for: it makes way for this page
    return response


def require(membership: Membership, permission: Permission) -> None:
    """Raise PermissionDenied for a member without this permission, with a text where another role would not help."""
    if permission in membership.permissions:
        return
    if permission in permissions.of_role(membership.role):
        raise PermissionDenied(f"In {membership.organization.name} only the owner manages API keys.")
    raise PermissionDenied


def lacks_two_factor(membership: Membership) -> bool:
    """Whether this member is shut out until they set up the second factor that their organization requires."""
    return membership.organization.two_factor_is_due and not has_device(membership.user)


def require_two_factor(membership: Membership) -> None:
    """Raise PermissionDenied for a member who `lacks_two_factor`."""
    if lacks_two_factor(membership):
        raise PermissionDenied("This organization requires two-factor authentication: set it up first.")


def note_activity(membership: Membership) -> None:
    """Remember that a member was here, at most once in some minutes."""
    now = timezone.now()
    if membership.last_active_at is None or membership.last_active_at < now - ACTIVITY_STEP:
        Membership.objects.filter(pk=membership.pk).update(last_active_at=now)


class NotYourOrganization(PermissionDenied):
    """The call names an organization that is unknown, or that the caller does not belong to."""


@dataclass(frozen=True)
class Standing:
    """Where a call stands: its organization, what it may do there, and what the person behind it may do by role."""

    organization: Organization
    granted: frozenset[Permission]
    of_person: frozenset[Permission]


def _of_key(key: ApiKey, org_id: str | None) -> Standing:
    scoped = permissions.of_scopes(key.scopes)
    home = key.organization
    if home is None:  # a service key: it speaks for no organization
        raise PermissionDenied("A service key works on the gateway API only.")
    if key.kind == ApiKey.Kind.ORGANIZATION:
        if org_id and org_id != home.uid:
            raise NotYourOrganization("This key belongs to another organization.")
        if key.created_by_id is None:  # made by the system itself
            return Standing(home, scoped, frozenset())
        # Never more than its creator: a key made by somebody since demoted loses what they lost.
        creator = home.memberships.filter(user=key.created_by_id).select_related("organization").first()
        of_person = creator.permissions if creator else frozenset()
        return Standing(home, scoped & of_person, of_person)
    assert key.user
    membership = Membership.objects.of(key.user).filter(organization__uid=org_id or home.uid).first()
    if membership is None and org_id:
        raise NotYourOrganization("You are not a member of this organization.")
    if membership is None:
        raise ValidationError(
            {"orgId": "The owner of this key is not in its organization any more: name one by orgId."}
        )
    require_two_factor(membership)
    return Standing(membership.organization, scoped & membership.permissions, membership.permissions)


def _of_session(request: Request, user: User, org_id: str | None) -> Standing:
    memberships = Membership.objects.of(user).in_order()
    if org_id:
        membership = memberships.filter(organization__uid=org_id).first()
    else:
        last = request.session.get(LAST_ORGANIZATION)
        membership = memberships.filter(organization__uid=last).first() or memberships.first()
    if membership is None and org_id:
        raise NotYourOrganization("You are not a member of this organization.")
    if membership is None:
        raise ValidationError({"orgId": "You are not a member of any organization yet."})
    require_two_factor(membership)
    return Standing(membership.organization, membership.permissions, membership.permissions)


class HasPermission(BasePermission):
    """Lets a call through if its key or session has the view's permission in the organization it is about.

    That is the one in the path, where the view's path names one, or else `orgId`.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        org_id = view.kwargs.get("organization_uid") or request.query_params.get("orgId")
        try:
            return self._find(request, view, org_id)
        except NotYourOrganization:
            if "organization_uid" in view.kwargs:
                raise Http404 from None
            raise

    def _find(self, request: Request, view: "APIView", org_id: str | None) -> bool:
        if isinstance(request.auth, ApiKey):
            found = _of_key(request.auth, org_id)
        elif isinstance(request.user, User):
            found = _of_session(request, request.user, org_id)
        else:
            return False
        request.organization, request.standing = found.organization, found  # type: ignore[attr-defined]
        request._request.organization = found.organization  # type: ignore[attr-defined]  # for the log
        permission: Permission = view.permission  # type: ignore[attr-defined]
        if request.method not in SAFE_METHODS:
            permission = getattr(view, "permission_to_change", permission)
        if permission not in found.granted:
            raise PermissionDenied(f"This needs the permission {permission}.")
        return True


class AnyPerson(BasePermission):
    """Lets through whoever speaks for themselves: by a personal key or a session."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return isinstance(request.user, User)


class AnyKey(BasePermission):
    """Lets any valid key through, of whatever kind and scopes."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return isinstance(request.auth, ApiKey)


class AnyCustomer(BasePermission):
    """Lets through people, and the programs of organizations: whoever is none of the operator's."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        key = request.auth
        return isinstance(request.user, User) or (isinstance(key, ApiKey) and key.organization_id is not None)
