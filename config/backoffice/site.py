from django_otp.admin import OTPAdminSite
from unfold.sites import UnfoldAdminSite


class BackOffice(UnfoldAdminSite, OTPAdminSite):  # type: ignore[misc]
    """The admin of the support staff: unfold's look, and only for a session verified by a one-time password."""
