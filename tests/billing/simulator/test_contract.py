import pytest

from billing.simulator import answers, contract
from billing.simulator.operations import OPERATIONS


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)
def test_the_sdk_has_each_operation_and_each_parameter_it_honours(operation) -> None:  # type: ignore[no-untyped-def]
    described = contract.operation(operation.method, operation.path)

    assert described is not None
    known = set(contract.fields(described.params)) if described.params else set()
    everywhere = {"expand", "limit", "starting_after", "ending_before", "created", "include"}
    assert set(operation.params) - everywhere <= known


def test_enums_are_strict_although_the_sdk_widens_them() -> None:
    described = contract.operation("POST", "/v1/checkout/sessions")

    assert described is not None
    assert described.params is not None
    mode = contract.fields(described.params)["mode"]
    assert mode.kind == contract.Enum(("payment", "setup", "subscription"))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"id": "mtr_1", "object": "billing.meter", "status": "asleep"}, "status is 'asleep'"),
        ({"id": 5, "object": "billing.meter"}, "id is 5, no string"),
        ({"id": "mtr_1", "object": "billing.meter"}, "created is missing"),
        ({"id": "mtr_1", "object": "billing.meter", "colour": "red"}, "colour is unknown"),
    ],
)
def test_an_answer_that_stripe_could_not_give_is_an_error(answer: dict[str, object], problem: str) -> None:
    with pytest.raises(answers.ContractBroken, match=problem):
        found = answers.problems(contract.resource("billing.meter"), answer, "meter")
        raise answers.ContractBroken("; ".join(found))
