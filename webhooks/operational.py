"""What the engine itself has to tell, such as that an endpoint was changed or that a message is given up."""

from typing import Any


def emit(organization_id: int, event_type: str, data: dict[str, Any]) -> None:
    """Tell of something that happened to an organization's endpoints, in the transaction that it happened in."""
