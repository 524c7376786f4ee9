"""The one setting that only this consumer has."""

from bridge.settings import Settings


class ApprovalSettings(Settings):
    """``APPROVAL_ACTIONS``: the module with the actions, by dotted name, or the path of a ``.py`` file."""

    approval_actions: str = "consumers.approval.examples"
