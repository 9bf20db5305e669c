"""(stub)"""

from rest_framework.views import APIView

from accounts.permissions import Permission


class Audit(APIView):
    permission = Permission.ORGANIZATION_VIEW
