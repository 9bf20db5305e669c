"""A Stripe for machines without one: a process of its own, on loopback, that moves no money.

    python -m billing.simulator --port 8002 --data var/stripe [--strict]

It stands alone: it imports nothing of the project, and the application reaches it over HTTP only, through the real
SDK with a key such as `sk_test_…` and another address of the API. Its page is at `/`, its clock at
`/simulator/clock`. State lies in one SQLite file and survives a kill.

Every request is held against the contract that the SDK's own types state; what Stripe would take and the simulator
lacks is refused with 501, never ignored. `--strict` holds the answers against it, too.

Where it knowingly differs from Stripe:

- One account, no live mode, no tax, discounts, coupons, tiers, schedules, credit notes, disputes or payouts; charges
  have no balance transaction.
- Payment is by test cards, and in Checkout by two test bank accounts. A card that fails on a Checkout page leaves no
  trace.
- Meter events count at once, and their identifiers are unique for ever. Values are whole and not below 0; a wrong
  value, timestamp or event name is a 400, and only an unknown customer is told by a thin event.
- Usage that arrives for a period whose invoice is final is never billed.
- `cancel_at_period_end` means the end of the longest item's period. An item that changes its interval begins a period
  of its own, and the others keep theirs. `classic` billing mode differs from `flexible` only in refusing mixed
  intervals.
- The invoice of `invoice_now` is final and collected at once. A failed payment is tried again after 3, 5 and 7 days;
  what follows is a setting. `invoice.upcoming` comes 7 days ahead.
- Webhooks are tried again after 1, 2, 4 … seconds up to an hour, in real time.
"""
