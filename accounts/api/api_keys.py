"""(stub)"""

from rest_framework.views import APIView

from accounts.permissions import Permission


class ApiKeys(APIView):
    permission = Permission.ORGANIZATION_VIEW


class ApiKeyById(APIView):
    permission = Permission.ORGANIZATION_VIEW


class ApiKeyRotate(APIView):
    permission = Permission.ORGANIZATION_VIEW


class ApiKeyEnable(APIView):
    permission = Permission.ORGANIZATION_VIEW


class ApiKeyDisable(APIView):
    permission = Permission.ORGANIZATION_VIEW
