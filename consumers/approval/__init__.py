"""approval, the sample consumer that archives approvals and runs a business action for each template.

Authors of actions want ``action`` and ``Approved`` of ``dingbridge.consumers.approval.actions``.
"""

from dingbridge.consumers.approval.consumer import Approval

__all__ = ["Approval"]
