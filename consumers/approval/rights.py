"""Logs each right that an app lacks once, with what an operator has to tick, in the words of the refusal."""

import structlog

from dingbridge.dingtalk.errors import ApiError

log = structlog.get_logger(__name__)


class MissingRights:
    """What one consumer process has logged."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def note(self, app: str, error: ApiError) -> None:
        """Log ``error`` if it is the first one that says that the app ``app`` may not make this call."""
        if error.about == "right" and (app, error.api) not in self._said:
            self._said.add((app, error.api))
            log.error(
                "approval.right_missing",
                app=app,
                api=error.api,
                permission=error.permission,
                reason=str(error),
            )
