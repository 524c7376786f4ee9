"""Business actions of approval templates: ``action`` and ``Approved`` are what their authors import."""

from dingbridge.consumers.approval.actions.declaration import Approved, Form, action

__all__ = ["Approved", "Form", "action"]
