import uuid

import httpx
import pytest
import stripe

from billing.simulator.simulator import API_VERSION
from tests.billing.simulator.conftest import Shop
from tests.billing.simulator_process import KEY, SimulatorProcess


def raw(simulator: SimulatorProcess, method: str, path: str, **options: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"} | options.pop("headers", {})  # type: ignore[operator]
    return simulator.http.request(method, path, headers=headers, **options)  # type: ignore[arg-type]


def test_the_version_is_the_sdks_own() -> None:
    from stripe._api_version import _ApiVersion

    assert _ApiVersion.CURRENT == API_VERSION


@pytest.mark.parametrize("key", ["sk_live_00000000000000000000", "nonsense", "pk_test_0000000000000000000"])
def test_only_secret_test_keys_are_let_in(simulator: SimulatorProcess, key: str) -> None:
    client = stripe.StripeClient(key, base_addresses={"api": simulator.url}, max_network_retries=0)

    with pytest.raises(stripe.AuthenticationError) as refused:
        client.v1.customers.list()

    assert refused.value.http_status == 401
    assert key not in str(refused.value)


def test_a_request_without_a_key_is_refused(simulator: SimulatorProcess) -> None:
    assert simulator.http.get("/v1/customers").status_code == 401


def test_another_version_of_the_api_is_refused(simulator: SimulatorProcess) -> None:
    response = raw(simulator, "GET", "/v1/customers", headers={"Stripe-Version": "2020-08-27"})

    assert response.status_code == 400
    assert API_VERSION in response.json()["error"]["message"]


def test_answers_name_their_request(simulator: SimulatorProcess) -> None:
    response = raw(simulator, "GET", "/v1/account")

    assert response.headers["Request-Id"].startswith("req_")
    assert response.json()["object"] == "account"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"name": "x", "colour": "red"}, "parameter_unknown", "colour"),
        ({}, "parameter_missing", "name"),
        ({"name": "x", "active": "maybe"}, None, "active"),
        ({"name": "x", "type": "thing"}, None, "type"),
        ({"name": ""}, "parameter_invalid_empty", "name"),
        ({"name": "x", "package_dimensions[width]": "1"}, "parameter_missing", "package_dimensions[height]"),
    ],
)
def test_a_parameter_that_stripe_would_refuse_is_refused(
    simulator: SimulatorProcess, body: dict[str, str], code: str | None, param: str
) -> None:
    response = raw(simulator, "POST", "/v1/products", data=body)

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error.get("code"), error["param"]) == ("invalid_request_error", code, param)


def test_a_parameter_that_the_simulator_lacks_is_told_not_ignored(
    client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    with pytest.raises(stripe.APIError, match="does not support the parameter discounts"):
        client.v1.subscriptions.create(
            {"customer": customer, "items": [{"price": shop.pro}], "discounts": [{"coupon": "SPRING"}]}
        )


def test_an_operation_that_the_simulator_lacks_is_told_apart_from_one_that_stripe_lacks(
    simulator: SimulatorProcess,
) -> None:
    assert raw(simulator, "GET", "/v1/coupons").status_code == 501
    assert raw(simulator, "GET", "/v1/unicorns").status_code == 404


def test_an_unknown_id_is_404_in_a_path_and_400_in_a_parameter(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as in_path:
        client.v1.customers.retrieve("cus_unknown")
    with pytest.raises(stripe.InvalidRequestError) as in_parameter:
        client.v1.subscriptions.create({"customer": "cus_unknown", "items": []})

    assert (in_path.value.http_status, in_path.value.code) == (404, "resource_missing")
    assert (in_parameter.value.http_status, in_parameter.value.param) == (400, "customer")


# Idempotency


def test_the_same_key_with_the_same_parameters_gives_the_same_answer(client: stripe.StripeClient) -> None:
    options: stripe.RequestOptions = {"idempotency_key": str(uuid.uuid4())}

    first = client.v1.customers.create({"email": "twice@example.com"}, options)
    second = client.v1.customers.create({"email": "twice@example.com"}, options)

    assert first.id == second.id
    assert second.last_response is not None
    assert second.last_response.headers["Idempotent-Replayed"] == "true"


def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient) -> None:
    options: stripe.RequestOptions = {"idempotency_key": str(uuid.uuid4())}
    client.v1.customers.create({"email": "one@example.com"}, options)

    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"email": "two@example.com"}, options)


def test_a_declined_card_is_answered_again_and_tried_once(
    client: stripe.StripeClient, simulator: SimulatorProcess, customer: str
) -> None:
    options: stripe.RequestOptions = {"idempotency_key": str(uuid.uuid4())}
    method = simulator.fail_payments(customer)

    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.create(
                {
                    "amount": 900,
                    "currency": "usd",
                    "customer": customer,
                    "payment_method": method,
                    "confirm": True,
                    "off_session": True,
                },
                options,
            )

    assert len(client.v1.charges.list({"customer": customer}).data) == 1


# Lists and expansion


def test_lists_are_paged_by_cursor_in_both_directions(client: stripe.StripeClient, customer: str) -> None:
    made = [
        client.v1.invoice_items.create({"customer": customer, "amount": number, "currency": "usd"}).id
        for number in range(1, 6)
    ][::-1]

    first = client.v1.invoice_items.list({"customer": customer, "limit": 2})
    second = client.v1.invoice_items.list(
        {"customer": customer, "limit": 2, "starting_after": first.data[-1].id}
    )
    back = client.v1.invoice_items.list({"customer": customer, "limit": 2, "ending_before": made[3]})

    assert [item.id for item in first.data] == made[:2]
    assert [item.id for item in second.data] == made[2:4]
    assert [item.id for item in back.data] == made[1:3]
    assert first.has_more
    assert back.has_more
    every = client.v1.invoice_items.list({"customer": customer, "limit": 2}).auto_paging_iter()
    assert [item.id for item in every] == made


@pytest.mark.parametrize("limit", [0, 101])
def test_a_limit_out_of_range_is_refused(client: stripe.StripeClient, limit: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.list({"limit": limit})

    assert refused.value.param == "limit"


def test_an_unknown_cursor_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.list({"starting_after": "cus_unknown"})

    assert refused.value.param == "starting_after"


def test_ids_expand_to_objects_deep_down_and_in_lists(
    client: stripe.StripeClient, shop: Shop, customer: str
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})

    expanded = ["data.customer.invoice_settings.default_payment_method", "data.latest_invoice.payments"]
    (subscription,) = client.v1.subscriptions.list({"customer": customer, "expand": expanded}).data

    assert isinstance(subscription.customer, stripe.Customer)
    assert subscription.customer.invoice_settings is not None
    assert isinstance(subscription.customer.invoice_settings.default_payment_method, stripe.PaymentMethod)
    assert isinstance(subscription.latest_invoice, stripe.Invoice)
    assert subscription.latest_invoice.payments is not None
    assert subscription.latest_invoice.payments.data[0].status == "paid"


@pytest.mark.parametrize(
    ("kind", "expansions"),
    [
        ("prices", ["currency_options", "product", "tiers"]),
        ("invoices", ["discounts", "lines.data.discounts"]),
        ("charges", ["balance_transaction"]),
        ("customers", ["default_source", "sources"]),
        ("checkout/sessions", ["line_items", "total_details.breakdown", "line_items.data.discounts"]),
    ],
)
def test_what_dj_stripe_always_expands_can_be_expanded(
    simulator: SimulatorProcess,
    client: stripe.StripeClient,
    shop: Shop,
    customer: str,
    kind: str,
    expansions: list[str],
) -> None:
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.pro}]})
    client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"price": shop.pack, "quantity": 1}],
            "success_url": "http://127.0.0.1/",
        }
    )
    query = [("limit", "3"), *(("expand[]", f"data.{name}") for name in expansions)]

    response = raw(simulator, "GET", f"/v1/{kind}", params=query)

    assert response.status_code == 200, response.text
    assert response.json()["data"]


def test_what_cannot_be_expanded_is_refused(client: stripe.StripeClient, customer: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.customers.retrieve(customer, {"expand": ["email"]})


def test_a_lookup_key_belongs_to_one_price_and_can_be_moved(client: stripe.StripeClient, shop: Shop) -> None:
    key = f"pro_{uuid.uuid4().hex}"
    price = {"product": shop.product, "currency": "usd", "unit_amount": 100, "lookup_key": key}
    first = client.v1.prices.create(price)  # type: ignore[arg-type]

    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.prices.create(price)  # type: ignore[arg-type]
    second = client.v1.prices.create({**price, "transfer_lookup_key": True})  # type: ignore[typeddict-item]

    assert refused.value.param == "lookup_key"
    assert [one.id for one in client.v1.prices.list({"lookup_keys": [key]}).data] == [second.id]
    assert client.v1.prices.retrieve(first.id).lookup_key is None
