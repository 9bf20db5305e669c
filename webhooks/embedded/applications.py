"""Applications of the embedded engine: an organization each."""

from svix.models import ApplicationIn, ApplicationOut

from accounts import prepared
from accounts.erasure import delete_in_batches
from accounts.models import Organization
from webhooks.embedded.calls import Answer, Call, bad_request, conflict, invalid, not_found
from webhooks.models import Application, Attempt, Delivery, Endpoint, Message

_OF_ID = "SELECT organization_id FROM webhooks_application WHERE uid = %s"
_OF_UID = """
SELECT organization_id FROM webhooks_application
WHERE organization_id = (SELECT id FROM accounts_organization WHERE uid = %s)
"""


def create(call: Call) -> Answer:
    """An application is an organization, so its uid must be one's; `get_if_exists` answers the one there is."""
    wanted = ApplicationIn.model_validate_json(call.body)
    application, created = open_for(wanted)
    if not created and not call.flag("get_if_exists", default=False):
        raise conflict("An application with this uid already exists")
    return Answer(201 if created else 200, _out(application))


def get(call: Call) -> Answer:
    return Answer(200, _out(find(call)))


def delete(call: Call) -> Answer:
    erase(find(call).organization)
    return Answer(204)


def open_portal(call: Call) -> Answer:
    """There is none: what it would show is shown by the project's own pages."""
    find(call)
    raise bad_request("no_portal", "The embedded engine has no portal")


def erase(organization: Organization) -> None:
    """Delete an organization's application with all that was ever sent for it."""
    delete_in_batches(Attempt.objects.filter(organization=organization))
    delete_in_batches(Delivery.objects.filter(message__organization=organization))
    for model in (Message, Endpoint, Application):
        delete_in_batches(model._default_manager.filter(organization=organization))


def open_for(wanted: ApplicationIn) -> tuple[Application, bool]:
    """Return the application of the organization with this uid, and whether it was made just now."""
    organization = None
    if wanted.uid and "\0" not in wanted.uid:
        organization = Organization.objects.filter(uid=wanted.uid).first()
    if organization is None:
        raise invalid("uid", "No organization has this id")
    application, created = Application.objects.get_or_create(
        organization=organization, defaults={"name": wanted.name.replace("\0", "")[:120]}
    )
    application.organization = organization
    return application, created


def organization_of(call: Call) -> int:
    """Return the id of the organization whose application is in the path."""
    name = call.names["app"]
    found = prepared.fetch(_OF_ID if name.startswith("app_") else _OF_UID, [name])
    if not found:
        raise not_found()
    return int(found[0][0])


def find(call: Call) -> Application:
    """Return the application in the path, by its id or its uid."""
    name = call.names["app"]
    is_own = name.startswith("app_")
    found = (
        Application.objects.filter(uid=name) if is_own else Application.objects.filter(organization__uid=name)
    )
    application = found.select_related("organization").first()
    if application is None:
        raise not_found()
    return application


def _out(application: Application) -> ApplicationOut:
    return ApplicationOut(
        id=application.uid,
        uid=application.organization.uid,
        name=application.name,
        created_at=application.created_at,
        updated_at=application.updated_at,
        metadata={},
    )
