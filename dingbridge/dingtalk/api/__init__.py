"""The Open API, as far as the bridge and its consumers need it: callback, contacts, approvals, to-dos.

Each method is one API (the page's slug on open.dingtalk.com stands with it) and raises ``ApiError``, whose
subclasses say what to do. Token, repeats and counting happen underneath (``dingbridge.dingtalk.token``,
``.transport``). Results are DingTalk's own objects: what DingTalk leaves out is absent here too.

The families of calls have a module each: ``callbacks``, ``contacts``, ``approvals``, and what writes:
``contact_writes``, ``workflow``, ``todos``, whose fields are checked in ``fields``; ``calls`` is below them.
"""

from dingbridge.dingtalk.api.approvals import ApprovalCalls
from dingbridge.dingtalk.api.callbacks import CallbackCalls, CallbackRegistration, FailedPage
from dingbridge.dingtalk.api.contact_writes import ContactWrites
from dingbridge.dingtalk.api.contacts import ContactCalls
from dingbridge.dingtalk.api.todos import TodoCalls
from dingbridge.dingtalk.api.workflow import WorkflowCalls

__all__ = ["CallbackRegistration", "DingTalkClient", "FailedPage"]


class DingTalkClient(CallbackCalls, ContactCalls, ContactWrites, ApprovalCalls, WorkflowCalls, TodoCalls):
    """One app's client. Use it as an async context manager, or call ``close`` when done.

    ``base`` is the address of oapi (https://oapi.dingtalk.com, or a simulator), ``new_base`` that of the new
    API, by default the one that belongs to ``base``. A ``session`` given stays its
    owner's to close. ``timeout_s`` is for one request. ``budget`` is asked before each request; ``at`` gives
    the same client at another priority. ``sleep`` and ``clock`` (s) are for tests.
    """
