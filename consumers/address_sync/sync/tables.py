"""What a full sync remembers on its way, so that it goes on after a crash where it was.

Nobody joins against these. ``address_sync_runs`` has the runs. ``address_sync_todo`` and
``…_staged`` are empty except while a run is under way (or waits to be confirmed); ``…_staged`` holds people's
data meanwhile.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from dingbridge import UtcDateTime
from dingbridge.consumers.address_sync.tables import metadata

runs = Table(
    "address_sync_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("corp_id", Text, nullable=False),
    Column("cause", Text, nullable=False, comment="order (from the inbox), command or dry_run"),
    Column(
        "state",
        Text,
        nullable=False,
        comment="reading, applying, refetching, details; done, stopped, dry_run, superseded",
    ),
    Column("began_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("scope", Text, comment="what the app could see, JSON"),
    Column("employees", BigInteger, comment="how many people DingTalk counts"),
    Column("found", BigInteger, comment="how many people were read"),
    Column("leavers", BigInteger, comment="people in the tables who were not read"),
    Column("incomplete", Text, comment="why nobody was marked as left"),
    Column("unread", Text, comment="what could not be read, JSON: counts, and ids with codes"),
    Column("calls", BigInteger, nullable=False, comment="API calls so far"),
    Column("changed", Text, comment="what it changed, JSON: counts by kind"),
    Column("words", Text, comment="why it stopped, for the operator"),
    Index("ix_address_sync_runs_began_at", "corp_id", "began_at"),
)

todo = Table(
    "address_sync_todo",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("entity_id", Text, primary_key=True),
    Column("due_ms", BigInteger, nullable=False, default=0, comment="when to try it again, epoch ms"),
    Column("failures", Integer, nullable=False, default=0, comment="of its own, which others do not share"),
    Column("failed_ms", BigInteger, comment="its last failure"),
    Column("failing_since_ms", BigInteger, comment="the first failure of its own"),
    Index("ix_address_sync_todo_due", "run_id", "step", "due_ms", "entity_id"),
)

staged = Table(
    "address_sync_staged",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True, comment="user, department, roles, role, holder, or unread_…"),
    Column("entity_id", Text, primary_key=True),
    Column(
        "listed_in",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="the department of a user, the role of a holder; 0: asked for by name",
    ),
    Column("generation", BigInteger, nullable=False, comment="the entity's before it was read"),
    Column("document", Text, nullable=False, comment="as DingTalk answered, JSON"),
)
