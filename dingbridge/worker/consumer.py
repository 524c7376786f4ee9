"""What the author of a consumer writes against: the ``Consumer`` class.

The named outcomes of a handler are in ``outcomes.py``. Not here: how a record reaches the handler
(``worker.py``), what happens around it (``executor.py``), and what stands behind ``Reader`` and
``Transaction`` (``database.py``).
"""

import re
from collections.abc import Hashable, Sequence
from inspect import iscoroutinefunction, unwrap
from types import FunctionType
from typing import Any, ClassVar, Generic, Literal, cast, get_args

from prometheus_client import CollectorRegistry
from sqlalchemy import MetaData
from typing_extensions import TypeVar

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.errors import SettingsError
from dingbridge.events.catalogue import EVENT_TYPE_RE
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event
from dingbridge.kafka.topic_policy import RESYNC
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.api.clients import ClientOf
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.handlers.marks import handlers_of, is_event_type
from dingbridge.worker.outcomes import Failure, Reject
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.forgetting import Forgotten, Person
from dingbridge.worker.store.restored import Restored
from dingbridge.worker.store.transaction import Transaction

NAME_RE = re.compile(r"[a-z0-9-]{1,100}")
"""A consumer's name is its group.id and part of two topic names, of at most 249 characters in Kafka."""

Table = tuple[str, list[str], list[tuple[Any, ...]]]
"""What ``show`` returns for each table: title, column names, rows."""

AutoOffsetReset = Literal["earliest", "latest"]

Prepared = TypeVar("Prepared", default=Any)
"""What ``prepare`` returns and ``handle`` is given."""


class Consumer(Generic[Prepared]):
    """Base class of a consumer: one internal system's view of the events, with a group of its own.

    Subclasses set ``name`` and write handlers: ``@on(UserAddOrg)`` on a method for one EventType, with
    the arguments of ``handle``, and ``handle`` for the events of ``topics`` and ``control_topics`` that have
    none. One instance lives in one worker process; its handlers run concurrently for different keys, in order
    for one key. ``Consumer[Approval]`` is one whose ``prepare`` returns an ``Approval``.
    """

    name: ClassVar[str]
    """Consumer group; dead letters and inbox are named after it. ``[a-z0-9-]+``, checked when the class is
    made."""

    topics: ClassVar[Sequence[str]] = ()
    """EventTypes, as ``["user_add_org"]``; the worker adds the topic prefix, and the consumer's inbox. Those
    of ``on`` are added when the class is made."""

    control_topics: ClassVar[Sequence[str]] = ()
    """Control topics that are read beside them, as ``["changes"]``; the worker adds ``CONTROL_PREFIX``. Their
    records are CloudEvents of any sender, and key, retries and dead letters are the same for them. ``resync``
    alone has the bridge's own requests to compare with DingTalk (``RESYNC_REQUESTED``): a new group begins at
    its end. A handler of such requests adds it when the class is made."""

    control_topics_written: ClassVar[Sequence[str]] = ()
    """Control topics that the consumer's own code writes to. They are made before it reads anything, and
    ``dingbridge doctor`` says which right on them is missing."""

    new_event_types: ClassVar[Sequence[str]] = ()
    """EventTypes of ``topics`` that are newer than this version's catalogue. Any other unknown name is taken
    for a misspelling, and refused at start."""

    metadata: ClassVar[MetaData | None] = None
    """Tables that are created at start when they are missing."""

    migrations: ClassVar[str | None] = None
    """Package with the Alembic revisions of these tables, as ``"billing.migrations"``; they run at start, and
    make every table of ``metadata``. With or without: a column that the database lacks ends the start."""

    own_tables: ClassVar[frozenset[str]] = frozenset()
    """The tables that were in ``metadata`` when the class was made; ``migrations`` makes these. What others
    add later, as an actions module does, is created when it is missing."""

    auto_offset_reset: ClassVar[AutoOffsetReset] = "earliest"
    """Where the topics are read from at the consumer's very first start: all that they still hold, or what
    comes from then on (``latest``). Later it goes on where it was, while Kafka keeps the group's offsets
    (``offsets.retention.minutes``: 7 days without a member)."""

    not_retryable: ClassVar[tuple[type[Exception], ...]] = ()
    """Exceptions after which another attempt would fail the same way, as ``(KeyError, NotFound)``: to the
    dead letters at once. Errors of a dependency that is down, and the named outcomes, keep their meaning."""

    max_attempts: ClassVar[int | None] = 8
    """How often an event is tried before its record goes to the dead letters. None: until it works; its key
    waits so long, other keys go on, and a ``Reject`` still goes to the dead letters."""

    uses_database: ClassVar[bool] = True
    """False: no database, so no inbox either. An event may then be handled more than once, and ``db`` and
    ``tx`` refuse whatever they are asked."""

    handler_timeout_s: ClassVar[float] = 60
    """Time limit for ``prepare``, and again for ``handle``, in s; past it, it is a ``Retry``."""

    alone: ClassVar[bool] = False
    """True: each event has a transaction of its own. By default one holds the effects of up to 32 events of
    different keys, so a lock that a handler takes, or ``SET LOCAL``, reaches its neighbours."""

    concurrency: ClassVar[int] = 32
    """How many keys one worker handles at the same time."""

    retry_first_s: ClassVar[float] = 0.5
    """Delay before the second attempt, in s; it doubles with each further one, with some jitter."""

    retry_max_s: ClassVar[float] = 60
    """The longest delay between two attempts, in s."""

    settings: ConsumerSettings
    """Set before ``start``."""

    database: Database
    """The consumer's database, set before ``start`` if it uses one, for what it does beside events;
    ``prepare`` and ``handle`` use what they are given. A transaction of its own inside ``handle`` is a
    ``Reject``, since it would wait for the event's."""

    registry: CollectorRegistry
    """Where metrics of its own are registered: ``/metrics`` shows them too. Set before ``start``."""

    clients: ClientOf | None = None
    """The Open API client for an app and a company, set before ``start`` when there are credentials."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__dict__.get("name")
        if name is not None and not NAME_RE.fullmatch(name):
            raise ValueError(
                f"{cls.__qualname__}.name is {name!r}; a consumer's name is 1 to 100 of a-z, 0-9 and -"
            )
        for attribute in ("topics", "new_event_types"):
            _check_names(
                cls, attribute, EVENT_TYPE_RE, 'is no EventType: they have no prefix, as "user_add_org"'
            )
        for attribute in ("control_topics", "control_topics_written"):
            _check_names(
                cls,
                attribute,
                NAME_RE,
                'is no control topic: they have no prefix and no dots, as "changes"',
            )
        if not cls.uses_database and cls.metadata is not None:
            raise ValueError(
                f"{cls.__qualname__} has `uses_database = False`, and tables of its own (`metadata`); "
                "drop one or the other"
            )
        if cls.max_attempts is not None and cls.max_attempts < 1:
            raise ValueError(
                f"{cls.__qualname__}.max_attempts is {cls.max_attempts}; it is 1 or more, or None for no end"
            )
        if cls.auto_offset_reset not in get_args(AutoOffsetReset):
            raise ValueError(
                f"{cls.__qualname__}.auto_offset_reset is {cls.auto_offset_reset!r}; it is one of "
                f"{', '.join(get_args(AutoOffsetReset))}"
            )
        if cls.__dict__.get("metadata") is not None:
            cls.own_tables = frozenset(cls.__dict__["metadata"].tables)
        _check_not_retryable(cls)
        _check_hooks(cls)
        _add_handlers(cls)

    @property
    def dingtalk(self) -> DingTalkClient:
        """DingTalk's Open API at the app ``CONSUMER_APP``, for what is done beside events; a handler takes
        ``ctx.dingtalk``.

        Raises ``SettingsError`` without credentials: touch it in ``start`` if every event needs it, so that
        the process fails there, with the remedy, rather than at its first event.
        """
        return self.dingtalk_of(None, None)

    @dingtalk.setter
    def dingtalk(self, client: DingTalkClient) -> None:
        self.clients = lambda app, corp_id: client

    def dingtalk_of(self, app: str | None, corp_id: str | None) -> DingTalkClient:
        """The client for what belongs to ``app`` (its name; without one ``CONSUMER_APP``) and the company
        ``corp_id``.

        Raises ``SettingsError`` without credentials, ``Reject`` for an app whose credentials this process
        does not have.
        """
        if self.clients is None:
            raise SettingsError(
                [
                    f"consumer {self.name} calls DingTalk's Open API: DINGTALK_APP_KEY and "
                    "DINGTALK_APP_SECRET (or DINGTALK_APP_SECRET_FILE) must be set; those of a third-party "
                    "suite are not used"
                ]
            )
        return self.clients(app or None, corp_id)

    async def start(self) -> None:
        """Called once before the first event, after the tables exist. An error here ends the process."""

    async def background(self) -> None:
        """Work of its own beside the events: runs from ``start`` to ``stop``, cancelled at the stop.

        Returning ends it. While a dependency is down (``DependencyUnavailable``, DingTalk's API), or when
        PostgreSQL rolled it back because of another transaction, it is called again later; any other error
        ends the process, in words.
        """

    async def stop(self) -> None:
        """Called once after the last event."""

    def fetches(self, event: Event) -> Hashable | None:
        """Names what ``prepare`` fetches for ``event``, as ``("user", event.subject)``; None, as here, if no
        other event could share it.

        Neighbours in the queue of one key that have the same value are handled together: ``prepare`` and
        ``handle`` are called once, with the newest, and ``ctx.together`` has them all. Their inbox rows are
        written in the one transaction. If that fails, the first of them is tried alone.
        """
        return None

    async def prepare(self, event: Event, ctx: Context) -> Prepared:
        """Network I/O (``ctx.dingtalk``) and short reads (``ctx.db``), with no transaction open. What it
        returns is given to ``handle``.

        Runs again with every attempt. An effect by HTTP from here is at least once: send the event's
        ``source`` and ``id`` along. A change to ``event.data`` does not reach ``handle``.
        """
        return cast(Prepared, None)

    async def handle(self, event: Event, tx: Transaction, prepared: Prepared) -> None:
        """Write the effect of the event in ``tx``, quickly; the inbox row is in it already.

        ``tx.ctx`` is the context that ``prepare`` had. Returning commits: the effect then happened once,
        however often Kafka delivers the record. Raising rolls back. It may be called again with the same
        ``prepared`` when another event of the transaction fails. No network I/O here: it would hold a
        transaction open.
        """
        raise Reject("the consumer has no handler for events of this type")

    async def dead_lettered(self, event: Event | None, failure: Failure) -> None:
        """Called for each record that went to the dead letters, once it is there, to notify somebody;
        ``event`` is None if the record is no event.

        Called twice if the process dies here. It has ``handler_timeout_s``; the record's key waits for it. An
        error in it is logged and changes nothing.
        """

    async def show(self, db: Reader) -> list[Table]:
        """The consumer's tables for ``dingbridge consume <name> --show``, each ``(title, columns, rows)``."""
        return []

    async def restored(self, restored: Restored, tx: Transaction) -> None:
        """Called before any event is handled again when the database went back in time, as a copy that was
        put back. Each member calls it for its own partitions, also while it runs; it may be called again.

        Events since then come again, and their effects in this database are gone: handled again, they happen
        once. An effect elsewhere happened already: for those that must not be repeated, keep
        ``restored.ends`` by ``tx``, and ask it of ``tx.ctx.position`` in the handler. No network I/O.
        """

    async def forget(self, person: Person, tx: Transaction) -> Forgotten | None:
        """Delete or mask what the tables have of ``person``, for ``dingbridge forget``; None, as here: not
        implemented.

        Keep what stops a replay of old events from writing the person again. It also runs in a transaction
        that is rolled back, for a report, and may be called again: rows that are gone are not counted.
        ``Forgotten.more`` asks for another transaction. The consumer is not started; ``settings`` and
        ``database`` are set. No network I/O.
        """
        return None


def _check_names(cls: type[Consumer], attribute: str, form: re.Pattern[str], fault: str) -> None:
    names = cls.__dict__.get(attribute)
    if isinstance(names, str):
        raise ValueError(f"{cls.__qualname__}.{attribute} is one text; it is a list, as [{names!r}]")
    for name in names if isinstance(names, Sequence) else ():
        if not form.fullmatch(name):
            raise ValueError(f"{cls.__qualname__}.{attribute} holds {name!r}, which {fault}")


def _check_hooks(cls: type[Consumer]) -> None:
    hooks = (
        "start",
        "background",
        "stop",
        "prepare",
        "handle",
        "dead_lettered",
        "show",
        "restored",
        "forget",
    )
    for name in hooks:
        own = cls.__dict__.get(name)
        if isinstance(own, FunctionType) and not iscoroutinefunction(unwrap(own)):
            raise ValueError(
                f"{cls.__qualname__}.{name} is no coroutine, and is awaited; write `async def {name}`"
            )
    if iscoroutinefunction(cls.fetches):
        raise ValueError(f"{cls.__qualname__}.fetches is not awaited; write `def fetches`")


def _check_not_retryable(cls: type[Consumer]) -> None:
    listed: object = cls.not_retryable
    if not isinstance(listed, tuple) or not all(
        isinstance(one, type) and issubclass(one, Exception) for one in listed
    ):
        raise ValueError(
            f"{cls.__qualname__}.not_retryable is {listed!r}; it is a tuple of exceptions, as (KeyError,)"
        )


def _add_handlers(cls: type[Consumer]) -> None:
    """Read what there are handlers for. Raises ``ValueError`` for an event that would have none."""
    handlers = handlers_of(cls)
    for event_type, marked in handlers.items():
        if marked.prepare is not None and not hasattr(cls, marked.prepare):
            raise ValueError(
                f"{cls.__qualname__}.{marked.handler} has prepare={marked.prepare}, and the class has no "
                "method of this name"
            )
        if not (is_event_type(event_type) or cls.control_topics or event_type == RESYNC_REQUESTED):
            raise ValueError(
                f"{cls.__qualname__}.{marked.handler} is for {event_type!r}, which is no EventType: they "
                'have no prefix, as "user_add_org" (and without `control_topics` nothing else is read)'
            )
    left = [event_type for event_type in cls.topics if event_type not in handlers]
    if left and cls.handle is Consumer.handle and hasattr(cls, "name"):
        raise ValueError(
            f"{cls.__qualname__} reads {', '.join(left)}, and has neither an @on for that nor a `handle`"
        )
    if RESYNC_REQUESTED in handlers:
        cls.control_topics = tuple(dict.fromkeys((*cls.control_topics, RESYNC)))
    if handlers:
        cls.topics = tuple(dict.fromkeys((*cls.topics, *filter(is_event_type, handlers))))
