"""What used credits are taken from, and where they go back to. Pure: amounts in, amounts out.

Credits are burnt in the order of the grants that are handed in. What no grant covers is left over, for the caller to
bill or to keep until new credits come.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)


@dataclass
class Pot:
    """A grant, and how many of its credits are left."""

    grant: int
    left: Decimal


@dataclass
class Returned:
    """Where credits that were given back went, and how many found no place."""

    to_uncovered: Decimal = ZERO
    to_overage: Decimal = ZERO
    to_grants: list[tuple[int, Decimal]] = field(default_factory=list)
    rest: Decimal = ZERO


def burn(amount: Decimal, pots: Iterable[Pot]) -> tuple[list[tuple[int, Decimal]], Decimal]:
    """Take an amount out of the pots, one after the other. Returns what came out of which grant, and the rest."""
    taken = []
    for pot in pots:
        if amount <= 0:
            break
        part = min(amount, pot.left)
        if part > 0:
            pot.left -= part
            amount -= part
            taken.append((pot.grant, part))
    return taken, amount


def give_back(
    amount: Decimal,
    *,
    uncovered: Decimal,
    overage: Decimal,
    drawn: Mapping[int, Decimal],
    pots: Sequence[Pot],
) -> Returned:
    """Undo the use of an amount: what nobody paid for first, then what is billed, then what came out of grants.

    `uncovered`, `overage` and `drawn` (by grant) are those of the day it was used on. Of the pots the one that is used
    last gets its credits back first.
    """
    returned = Returned()
    returned.to_uncovered = min(amount, uncovered)
    amount -= returned.to_uncovered
    returned.to_overage = min(amount, max(overage, ZERO))
    amount -= returned.to_overage
    for pot in reversed(pots):
        back = min(amount, drawn.get(pot.grant, ZERO))
        if back > 0:
            pot.left += back
            amount -= back
            returned.to_grants.append((pot.grant, back))
    returned.rest = amount
    return returned
