from django.urls import path

from accounts.views import api_keys

app_name = "accounts"

urlpatterns = [
    path("o/<slug:organization_uid>/api-keys/", api_keys.listing, name="api_keys"),
    path("o/<slug:organization_uid>/api-keys/create/", api_keys.create, name="create_api_key"),
    path("o/<slug:organization_uid>/api-keys/<slug:key_uid>/revoke/", api_keys.revoke, name="revoke_api_key"),
]
