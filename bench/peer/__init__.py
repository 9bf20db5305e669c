"""The peer: the same endpoint as it is commonly written, with DRF serializers, bulk_create and an ORM rollup.

Its own tables, used only here. It is spared authentication, limits and webhooks.
"""
