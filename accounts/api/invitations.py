"""(stub)"""

from rest_framework.views import APIView

from accounts.permissions import Permission


class Invitations(APIView):
    permission = Permission.ORGANIZATION_VIEW


class InvitationById(APIView):
    permission = Permission.ORGANIZATION_VIEW


class InvitationResend(APIView):
    permission = Permission.ORGANIZATION_VIEW
