"""What a call of the Open API is for, and who may stop it before it is made.

The counting itself is not here: a ``Budget`` is given to the client (``dingbridge.worker.api.budget`` has the
durable one). And which pushes the same quota leaves out.
"""

import enum
from typing import Final, Protocol

FREE_PUSHES: Final = frozenset(
    {
        *("user_add_org", "user_modify_org", "user_leave_org", "user_active_org"),
        *("org_dept_create", "org_dept_modify", "org_dept_remove", "org_change"),
        *("label_user_change", "label_conf_add", "label_conf_del", "label_conf_modify"),
        *("org_admin_add", "org_admin_remove", "org_annual_certification_submission"),
    }
)
"""EventTypes whose pushes do not count (appendix-a-list-of-events-not-included-in-webhook). Some medical
ones, which are not known to us by name, are free as well, and counted here; org_remove is not."""


class Priority(enum.IntEnum):
    """What a call serves, the most urgent first. The further down, the earlier its budget ends."""

    ALWAYS = 0
    """Rare, and much waits for it: opening a Stream connection, without which no event comes; what the app
    may see, for a full sync of contacts. It is counted, and no budget of ours ends for it."""
    EVENT = 1
    """An event that a consumer is working on."""
    RECOVERY = 2
    """Reading what DingTalk could not deliver."""
    RESYNC = 3
    """Reading a whole company again, or a part of it."""
    RECONCILE = 4
    """Comparing, without a sign that anything is wrong."""


class Budget(Protocol):
    """What an app may spend. ``turn`` is asked before each request, ``spend`` before each one that DingTalk's
    monthly quota counts, repeats included. Calls about contacts, roles and tokens are exempt, so it is not
    asked before them. One page lists which these are (basic-interfaces-such-as-log-off-and-address-book).
    What it does not list is counted: auth/scopes, Stream's connections/open, the calls about the callback."""

    async def spend(self, api: str, priority: Priority) -> None:
        """Count one request of ``api`` (such as ``v2/user/get``).

        Raises ``dingbridge.errors.CallsSpent`` when ``priority`` has none left; the client makes a
        ``BudgetSpent`` of it.
        """
        ...

    async def turn(self, api: str) -> float:
        """Take the next turn of ``api``; returns the s to wait until the request may be sent."""
        ...

    async def hold(self, api: str, wait_s: float) -> None:
        """DingTalk refused a request of ``api`` for its rate: let no further turn begin for ``wait_s``."""
        ...
