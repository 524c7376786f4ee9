"""The root of every error this project raises on purpose, and a drawing of the whole tree.

::

    BridgeError
    ├── SettingsError            settings that cannot work; lists every mistake at once
    ├── KafkaUnavailable         Kafka does not answer, or refuses the credentials
    │   └── RecordTooLarge       it refuses one record for its size
    ├── TopicError               a topic that cannot be created or used as asked
    │   ├── TopicForbidden       the rights on it are missing
    │   └── TopicLeaderless      it is there, and brokers that lead it are not
    ├── TaskEnded                a task that the process needs has ended                 dingbridge/tasks.py
    ├── CallsSpent               the month's budget of API calls has none left for this priority
    ├── ServerStartError         a local Kafka or PostgreSQL that did not start
    ├── DingTalkError            see its own drawing                                   dingbridge/dingtalk
    ├── NotAnEvent               a Kafka record that is no event of ours                 dingbridge/events
    ├── Unreadable               a payload that cannot be taken apart                    dingbridge/events
    ├── HandlerOutcome           what a handler raises instead of "done": Retry, Reject …  dingbridge/worker
    ├── UnknownConsumer          none of this name is installed, or it does not load     dingbridge/worker
    ├── MovedByAnother           offsets in the database are not as this member left them  dingbridge/worker
    ├── MigrationError           a consumer's tables cannot be brought up to date        dingbridge/worker
    ├── Deleted                  a range of time that Kafka has deleted in part          dingbridge/replay
    ├── RegistryUnavailable      the schema registry is not reached, or refuses us       dingbridge/schema
    ├── ScaffoldError            `new-consumer` cannot write what was asked for             dingbridge/cli
    ├── ExtraMissing             a command needs packages that an extra would bring         dingbridge/cli
    ├── JournalError             the journal cannot be opened or written                           ingress
    │   ├── JournalDamaged       SQLite, or the disk, cannot read it
    │   ├── JournalLocked        another process holds the folder
    │   └── JournalUnavailable   not kept: disk full, I/O error, queue full, or too slow
    └── ActionError              the simulated company cannot do that                            simulator

Where no folder stands beside it, a class is in this module.

The message of a ``BridgeError`` is for the operator: what is wrong and what to do next, without any secret,
payload or personal value. The command line prints it as it is.
"""


class BridgeError(Exception):
    """Root of the tree. ``exit_code`` is what ``dingbridge`` exits with when it ends a command.

    ``unavailable`` is true when the same would fail whatever is asked (a database, DingTalk, Kafka is down):
    wait, give nothing up. ``retry_after_s`` is then the least time to wait, in s, where it is known.
    """

    exit_code = 1
    retry_after_s: float | None = None

    @property
    def unavailable(self) -> bool:
        return False


class SettingsError(BridgeError):
    """Settings that cannot work. ``problems`` holds one line for each mistake, all of them."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {p}" for p in problems)
        super().__init__(f"settings: {len(problems)} mistake(s), nothing was started\n{lines}")


class KafkaUnavailable(BridgeError):
    """Kafka does not answer or refuses us; the message says which of the two, and the next step."""


class RecordTooLarge(KafkaUnavailable):
    """Kafka refuses a record for its size, and will refuse it again."""


class TopicError(BridgeError):
    """A topic cannot be created or used as asked."""


class TopicForbidden(TopicError):
    """Kafka's authorizer does not let us see or create a topic; the message names the right."""


class TopicLeaderless(TopicError):
    """A topic is there, and no broker leads some of its partitions; the message names them."""


class ServerStartError(BridgeError):
    """A local Kafka or PostgreSQL did not start; the message says what is missing and its remedy."""


class CallsSpent(BridgeError):
    """The month's budget of Open API calls has none left for this priority. ``retry_after_s`` is the time
    until the next month begins at DingTalk. The API client makes a ``dingbridge.dingtalk.errors.BudgetSpent``
    of it."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
