"""Logs of a process: structured event names with key/values, readable on a terminal, JSON in a pipe.

Metrics are plain ``prometheus_client`` objects that each part keeps beside what it measures; they are served
by ``dingbridge/health_server.py``. No log holds a body, a name, a form value, a query string or a secret.
"""

import logging
import sys
from typing import Any

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
    # at their own debug level these print whole records, SQL with its values, and the password of SASL PLAIN
    for name in ("aiokafka", "aiosqlite"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # aiohttp's server log would print request lines, and with them query strings, of malformed requests
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
