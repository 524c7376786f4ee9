"""Logs of a process: structured event names with key/values, readable on a terminal, JSON in a pipe.

Metrics are plain ``prometheus_client`` objects that each part keeps beside what it measures; they are served
by ``dingbridge/health_server.py``. No log holds a body, a name, a form value, a query string or a secret; and
of a text of a record an ``excerpt``.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

import structlog

from dingbridge.settings import LogSettings


def configure_logging(settings: LogSettings) -> None:
    """Send all logs of this process, ours and the libraries', to standard error in one form.

    ``LOG_FORMAT=auto`` means colours on a terminal and JSON in a pipe.
    """
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any]
    if as_json:
        renderer = [
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # aiokafka logs every attempt of a night-long outage; we log the change of state, in words
    logging.getLogger("aiokafka").propagate = settings.log_level == "DEBUG"
    # Invariant 10: at their own debug level these print whole records, SQL with its values, and the password
    # of SASL PLAIN
    for name in ("aiokafka", "aiosqlite"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    server = logging.getLogger("aiohttp.server")
    server.filters = [ServerLog()]
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # its steps run in memory, too, to be compared; `database.migrated` says what was done to the database
    logging.getLogger("alembic").setLevel(logging.WARNING)


LONGEST_EXCERPT: Final = 200


def excerpt(text: object) -> str:
    """At most 200 characters of ``text`` in one line, escaped. A log holds no more of a record's own text,
    which anybody may have written."""
    shown = repr(str(text)[: LONGEST_EXCERPT + 1])[1:-1]
    return shown if len(shown) <= LONGEST_EXCERPT else shown[: LONGEST_EXCERPT - 1] + "…"


class LogLimiter:
    """Keeps a flood from becoming a flood of log lines: allows ``burst`` lines for each key in each period
    of ``period_s``, and counts the rest."""

    def __init__(
        self, burst: int = 5, period_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._period, self._clock = burst, period_s, clock
        self._state: dict[str, tuple[float, int, int]] = {}

    def allow(self, key: str) -> int | None:
        """``None`` when this line is to be left out; else how many were left out before it.

        ``key`` comes from a fixed set (reasons of refusal), so the state is bounded.
        """
        now = self._clock()
        began, used, suppressed = self._state.get(key, (now, 0, 0))
        if now - began >= self._period:
            began, used = now, 0
        if used >= self._burst:
            self._state[key] = (began, used, suppressed + 1)
            return None
        self._state[key] = (began, used + 1, 0)
        return suppressed


def place_of(error: BaseException) -> str:
    """Where ``error`` was raised, as ``file.py:line``; of use where its text may hold what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"


class ServerLog(logging.Filter):
    """Logs type and place of an error instead of aiohttp's own text, which quotes the bytes of a request that
    it could not parse, or the exception's text of a fault in a handler."""

    def __init__(self) -> None:
        super().__init__()
        self._limiter = LogLimiter()

    def filter(self, record: logging.LogRecord) -> bool:
        # Invariant 10: neither the error's text nor its traceback is logged
        error = record.exc_info[1] if record.exc_info else None
        if error is None or record.levelno < logging.ERROR:
            return False
        name = type(error).__name__
        if (suppressed := self._limiter.allow(name)) is not None:
            log = structlog.get_logger("dingbridge.http")
            log.warning("http.request_failed", error=name, place=place_of(error), suppressed=suppressed)
        return False
