"""(stub)"""

from rest_framework.views import APIView

from accounts.permissions import Permission


class Organizations(APIView):
    permission = Permission.ORGANIZATION_VIEW


class OrganizationById(APIView):
    permission = Permission.ORGANIZATION_VIEW


class OwnershipTransfer(APIView):
    permission = Permission.ORGANIZATION_VIEW


class OwnershipAcceptance(APIView):
    permission = Permission.ORGANIZATION_VIEW
