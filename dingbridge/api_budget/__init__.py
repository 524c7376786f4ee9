"""What an app may spend at DingTalk's Open API: calls a month, and calls a second of each API."""

from dingbridge.api_budget.calls import PRIORITIES, SHARES, ApiCalls

__all__ = ["PRIORITIES", "SHARES", "ApiCalls"]
