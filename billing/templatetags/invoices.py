"""How prices look, and where invoices lead, on the pages of billing: `{% load invoices %}`."""

from django import template

from billing import hosted, invoices, offers

register = template.Library()

register.filter("stripe_link", hosted.link)
register.filter("price", offers.whole)
register.filter("description", invoices.description)
