"""The fields for a test card, and the page on which its owner confirms a payment."""

from typing import Any

from billing.simulator.errors import StripeError
from billing.simulator.markup import Html, Page, hidden, html, page, table
from billing.simulator.payment_methods import BANK_ACCOUNTS, CARDS, TestCard


def card_fields(*, with_bank_accounts: bool = False) -> Html:
    """Return the field for a card's number, filled with one that succeeds, and the list of the others."""
    choices = [*CARDS.values(), *(BANK_ACCOUNTS.values() if with_bank_accounts else ())]
    options = [html('<option value="{}">{}</option>', spaced(card.number), card.what) for card in choices]
    rows = [[html("<code>{}</code>", spaced(card.number)), card.what] for card in choices]
    return html(
        '<label>Test card number<input name="card" value="{}" list="cards" inputmode="numeric" autocomplete="off"'
        ' required></label><datalist id="cards">{}</datalist><details><summary>Test cards</summary>{}</details>',
        spaced("4242424242424242"),
        options,
        table(("Number", "What it does"), rows),
    )


def spaced(number: str) -> str:
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def card_given(form: dict[str, str], *, with_bank_accounts: bool = False) -> TestCard:
    """Return the test card that a form names; raise StripeError for any other number."""
    number = "".join(form.get("card", "").split())
    if with_bank_accounts and number in BANK_ACCOUNTS:
        return BANK_ACCOUNTS[number]
    if number not in CARDS:
        raise StripeError(
            "This is none of the test card numbers. Never type a real one here.",
            status=402,
            kind="card_error",
            code="incorrect_number",
        )
    return CARDS[number]


def confirm_page(action: str, what: str, form: dict[str, Any]) -> Page:
    """Return the page on which the owner of a card confirms, as a bank would ask."""
    return page(
        "Confirm with your bank",
        html(
            '<section><p>{}</p><form class="block" method="post" action="{}">{}<button class="main" name="confirmation"'
            ' value="confirmed">Confirm</button> <button name="confirmation" value="refused">Refuse</button></form>'
            "</section>",
            what,
            action,
            hidden({name: value for name, value in form.items() if name != "confirmation"}),
        ),
    )
