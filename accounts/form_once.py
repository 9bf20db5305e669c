"""Forms that make one thing however often they are sent.

Such a form carries the id of what it will make, signed, in its field `form`. Sent twice (a reload, an impatient click),
it names what exists by then.
"""

from django.core.exceptions import BadRequest
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest

from accounts.ids import new_uid


def uid_of(request: HttpRequest, prefix: str, *, place: str = "") -> tuple[str, str]:
    """The id of what this form makes, and the same signed for its page: for this person, in this place.

    Chosen with the empty form, and sent back with the filled one. Raises BadRequest for a form that was not made here.
    """
    signer = Signer(salt=f"a new {prefix} of {place} by {request.user.pk}")
    if request.method != "POST":
        uid = new_uid(prefix)
        return uid, signer.sign(uid)
    signed = request.POST.get("form", "")
    try:
        return signer.unsign(signed), signed
    except BadSignature as error:
        raise BadRequest("This form was not made here.") from error
