"""A Stripe for machines without one: a process of its own, on loopback, that moves no money.

It stands alone. The application reaches it over HTTP only, through the real Stripe SDK.
"""
