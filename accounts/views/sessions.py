"""The page of everywhere one is signed in."""

from allauth.account.internal.flows.logout import logout
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts import sessions as signed_in_sessions
from accounts.access import SignedInRequest, actor_of, signed_in


@signed_in
@require_safe
def sessions(request: SignedInRequest) -> HttpResponse:
    here = request.session.session_key
    rows = [
        {
            "session": session,
            "device": signed_in_sessions.device_in_words(session.user_agent),
            "place": "" if session.ip == signed_in_sessions.NOWHERE else session.ip,
            "is_here": session.session_key == here,
        }
        for session in signed_in_sessions.of(request.user)[:100]
    ]
    return render(
        request,
        "accounts/sessions.html",
        {"rows": rows, "others": any(not row["is_here"] for row in rows)},
    )


@signed_in
@require_POST
def end_other_sessions(request: SignedInRequest) -> HttpResponse:
    """End all but the one that asks for it."""
    ended = signed_in_sessions.end_others(
        user=request.user, keep=request.session.session_key or "", actor=actor_of(request)
    )
    messages.success(
        request, f"Ended: {ended} other session{'' if ended == 1 else 's'}. You are signed in here only."
    )
    return redirect("accounts:sessions")


@signed_in
@require_POST
def end_session(request: SignedInRequest, session_id: int) -> HttpResponse:
    """End one session; the one that asks for it by signing out."""
    session: UserSession = get_object_or_404(UserSession, pk=session_id, user=request.user)
    here = session.session_key == request.session.session_key
    signed_in_sessions.end(session=session, actor=actor_of(request))
    if here:
        logout(request)
        return redirect("account_login")
    messages.success(request, "That session has ended.")
    return redirect("accounts:sessions")
