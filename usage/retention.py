"""How long the details of jobs are kept: as long as the plan allows, or less where the organization chose so."""

from accounts.models import Organization
from usage.models import Entitlement


def longest(organization: Organization) -> int:
    """The most days that the plan allows; 0 keeps nothing beyond delivery, and so does having no plan."""
    found = Entitlement.objects.filter(organization=organization).values_list("retention_days", flat=True)
    return found.first() or 0


def retention_days(organization: Organization) -> int:
    """For how many days after a job has ended its details are kept; 0 for not at all."""
    most = longest(organization)
    chosen = organization.retention_days
    return most if chosen is None else min(chosen, most)
