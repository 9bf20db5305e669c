"""A button of a page that shows and leads on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Button:
    """`asks`: it opens a dialog on this page. `is_first`: it is what the page most likely was opened for."""

    label: str
    url: str
    asks: bool = False
    is_first: bool = False
