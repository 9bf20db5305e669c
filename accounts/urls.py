from django.urls import path

from accounts.views import api_keys

app_name = "accounts"

urlpatterns = [
    path("o/<str:organization_uid>/api-keys/", api_keys.listing, name="api_keys"),
    path("o/<str:organization_uid>/api-keys/create/", api_keys.create, name="create_api_key"),
    path("o/<str:organization_uid>/api-keys/<str:key_uid>/revoke/", api_keys.revoke, name="revoke_api_key"),
]
