from django.urls import path

from billing.views import cancel, credits, invoices, ledger, overview, plans

app_name = "billing"

_HERE = "o/<slug:organization_uid>/billing"

urlpatterns = [
    path(f"{_HERE}/", overview.overview, name="overview"),
    path(f"{_HERE}/next-invoice/", overview.next_invoice, name="next_invoice"),
    path(f"{_HERE}/portal/", overview.portal, name="portal"),
    path(f"{_HERE}/plans/", plans.plans, name="plans"),
    path(f"{_HERE}/plans/keep/", plans.keep, name="keep_plan"),
    path(f"{_HERE}/plans/<slug:plan_slug>/<slug:interval>/", plans.change, name="change_plan"),
    path(f"{_HERE}/plans/<slug:plan_slug>/<slug:interval>/subscribe/", plans.subscribe, name="subscribe"),
    path(f"{_HERE}/credits/", credits.buy_credits, name="buy_credits"),
    path(f"{_HERE}/credits/<slug:pack_slug>/buy/", credits.buy, name="buy_pack"),
    path(f"{_HERE}/checkout/done/", credits.checkout_done, name="checkout_done"),
    path(f"{_HERE}/checkout/card/", credits.checkout_done, {"adds_card": True}, name="card_added"),
    path(f"{_HERE}/checkout/left/", credits.checkout_left, name="checkout_left"),
    path(f"{_HERE}/top-up/", credits.top_up, name="top_up"),
    path(f"{_HERE}/top-up/remove/", credits.remove_top_up, name="remove_top_up"),
    path(f"{_HERE}/ledger/", ledger.lines, name="ledger"),
    path(f"{_HERE}/ledger.csv", ledger.csv, name="ledger_csv"),
    path(f"{_HERE}/invoices/", invoices.listing, name="invoices"),
    path(f"{_HERE}/invoices.csv", invoices.csv, name="invoices_csv"),
    path(f"{_HERE}/invoices/<slug:invoice_uid>/", invoices.detail, name="invoice"),
    path(f"{_HERE}/cancel/", cancel.cancel, name="cancel"),
]
