"""The back office of webhooks, model by model."""

from webhooks import endpoint_admin as endpoint_admin  # it registers endpoints and replays
from webhooks import message_admin as message_admin  # it registers messages, the outbox and attempts
