"""The peers: the same as it is commonly written. Job reports with DRF serializers, bulk_create and an ORM rollup, in
tables of their own; keys with the packages that a project would take.

The one for job reports is spared authentication, limits and webhooks.
"""
