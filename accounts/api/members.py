"""(stub)"""

from rest_framework.views import APIView

from accounts.permissions import Permission


class Members(APIView):
    permission = Permission.ORGANIZATION_VIEW


class MemberById(APIView):
    permission = Permission.ORGANIZATION_VIEW
