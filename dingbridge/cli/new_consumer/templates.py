"""The texts of a new consumer. ``$package`` is ``consumers.billing``, or ``billing_consumer`` in a
repository of its own; the rest is named after ``names.Names``."""

from string import Template

INIT = Template('''"""$name, a consumer of DingTalk's events."""

from $package.consumer import $class_name

__all__ = ["$class_name"]
''')

CONSUMER = Template('''"""$name: a row for each event. Put your own table and handler in their place."""

$imports

tables = MetaData()

events = Table(
    "${module}_events",
    tables,
    Column("event_id", Text, primary_key=True, comment="the same when the event comes again"),
    Column("event_type", Text, nullable=False),
    Column("subject", Text, comment="what it is about: a user, a department, an approval"),
    Column("at", UtcDateTime, nullable=False, comment="when it happened"),
)


class $class_name(Consumer):
    """One instance lives in each worker process."""

    name = "$name"  # consumer group, dead letters and inbox are named after it
    topics = $topics
    metadata = tables  # created at start when missing

    async def prepare(self, event: Event, ctx: Context) -> Any:
        """Network I/O and short reads, such as `await ctx.dingtalk.user(event.subject)`. What this returns
        is given to `handle`."""
        return None

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        """Database only, shortly: returning commits. `raise Retry(after=...)`, `Reject("why")` or
        `Conflict()` of `dingbridge` say otherwise."""
        row = {
            "event_id": event.id,
            "event_type": event.event_type,
            "subject": event.subject,
            "at": event.time,
        }
        await tx.upsert(events, row, ["event_id"])

    async def show(self, db: Reader) -> list[Shown]:
        """What `dingbridge consume $name --show` prints."""
        settings = $settings_class.load()
        most = settings.${module}_show_rows
        found = await db.execute(select(events).order_by(events.c.at.desc()).limit(most))
        return [(events.name, [column.name for column in events.c], [tuple(row) for row in found])]
''')

SETTINGS = Template('''"""The settings that only $name has. They come from the environment."""

$imports


class $settings_class(Settings):
    """``${setting}_SHOW_ROWS``: rows that `--show` prints, the newest first."""

    ${module}_show_rows: int = Field(20, ge=1)
''')

TEST = Template('''"""$name against recorded events: in memory; with --kafka through a real Kafka."""

$imports

RECORDED = Path(__file__).parent / "events"


async def test_each_event_is_written_once(running):
    records = recorded(RECORDED)
    async with running($class_name()) as runtime:
        for record in records:
            assert (await runtime.deliver(record)).kind == "done"
            assert (await runtime.deliver(record)).kind == "seen"  # a repeat has no effect
        rows = await runtime.rows(select(events))
        assert {row.event_id for row in rows} == {record.id for record in records}
''')

SERVICE = Template("""
  $name:
    <<: *consumer
    command: [consume, $name]
    environment: *consumer-environment
""")

APP_SERVICE = Template("""
  $name:
    <<: *settings
    environment: *consumer
""")

OWN_PYPROJECT = Template("""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name-consumer"
version = "0.1.0"
description = "$name, a consumer of the DingTalk to Kafka bridge"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["dingbridge"]

[project.optional-dependencies]
test = ["pytest>=8.3", "pytest-asyncio>=0.26"]

[project.entry-points."dingbridge.consumers"]
$name = "$package:$class_name"

[tool.setuptools]
packages = ["$package"]

[tool.ruff]
line-length = 110

[tool.pytest.ini_options]
testpaths = ["tests"]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
addopts = "-p dingbridge.testing.plugin"
""")

OWN_README = Template("""# $name

A consumer of the DingTalk to Kafka bridge. It reads $events_text.

    pip install -e '.[test]'          # into an environment that has dingbridge
    python -m pytest                  # in memory
    python -m pytest --kafka          # the same tests through a real Kafka
    dingbridge consume $name          # run it; settings come from the environment
    dingbridge consume $name --show   # what it has written

The handler is `$package/consumer.py`, its own settings are `$package/settings.py`. It is found by the entry
point `dingbridge.consumers` in `pyproject.toml`, wherever this package is installed beside dingbridge.
dingbridge's `docs/guide/writing-a-consumer.md` says what a handler may do.

| setting | default | meaning |
|---|---|---|
| `${setting}_SHOW_ROWS` | `20` | rows that `dingbridge consume $name --show` prints |
""")

OWN_GITIGNORE = """.venv/
__pycache__/
*.egg-info/
.pytest_cache/
data/
"""
