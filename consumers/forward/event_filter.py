"""Which events a system gets, beyond the topics that it reads: approvals by template, changes by kind."""

from fnmatch import fnmatchcase

import structlog

from dingbridge import Event
from dingbridge.consumers.forward.body import CHANGE
from dingbridge.consumers.forward.settings import System
from dingbridge.events.catalogue import catalogue
from dingbridge.logging import excerpt

log = structlog.get_logger(__name__)


class EventFilter:
    """The filter of one system: ``process_codes`` looks at approvals and lets all other events pass. Of a
    change no template is known, so with ``process_codes`` those of approvals are withheld."""

    def __init__(self, system: System) -> None:
        self._process_codes = system.process_codes
        self._changes = system.changes - ({"approval"} if system.process_codes else set())

    def wants(self, event: Event) -> bool:
        if event.type == CHANGE:
            return event.data.get("kind") in self._changes
        if not self._process_codes or not _is_approval(event):
            return True
        code = event.data.get("processCode")
        if not isinstance(code, str) or not code:
            # a form may be secret to this system, so an approval without a known template is withheld
            log.warning("forward.no_process_code", event_id=excerpt(event.id), event_type=event.event_type)
            return False
        return any(fnmatchcase(code, pattern) for pattern in self._process_codes)


def _is_approval(event: Event) -> bool:
    spec = catalogue.get(event.event_type)
    return spec is not None and spec.subject is not None and spec.subject.kind == "process-instance"
