"""What companies spend of DingTalk's month with our consumers: writes the tables of ``docs/guide/quota*.md``.

The page sizes and the pace are the code's own; what a company is like is assumed, in ``ASSUMED`` and
``COMPANIES``. ``tests/integration/test_quota.py`` holds the arithmetic against calls that were counted. Run
``python -m dev.quota`` after a change.
"""

from dataclasses import dataclass
from itertools import dropwhile
from math import ceil
from pathlib import Path
from typing import Final

from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.dingtalk.api.approvals import IDS_PAGE
from dingbridge.dingtalk.api.contacts import PAGE_SIZE, ROLE_GROUPS_PAGE
from dingbridge.settings import IngressSettings

PAGES: Final = {
    lang: Path(__file__).parents[1] / "docs" / "guide" / name
    for lang, name in (("en", "quota.md"), ("zh", "quota.zh-CN.md"))
}
DAYS: Final = 30
"""Of a month."""


@dataclass(frozen=True, slots=True)
class Company:
    """``members``: direct members of each department; ``roles`` and their ``groups``."""

    people: int
    members: tuple[int, ...]
    roles: int
    templates: int
    groups: int = 3


@dataclass(frozen=True, slots=True)
class Assumed:
    """Of a month, by person or by approval. ``late``: reads of an approval's document because a task event
    came after the first; ``open_days``: how long an approval runs; ``started``: the share that the OA starts,
    with a to-do each; ``lasts_h``: of a Stream connection."""

    approvals: float = 2.0
    approvers: int = 2
    files: float = 0.4
    late: float = 1.0
    open_days: float = 2.0
    changes: float = 0.1
    started: float = 0.1
    resyncs: int = 2
    lasts_h: float = 20.0


@dataclass(frozen=True, slots=True)
class Setup:
    """How the bridge is set up: the share of approvals whose events are subscribed (``templates``), whether
    ``tasks`` and starts are, and ``RECOVERY_EVERY_MINUTES``."""

    templates: float
    tasks: bool
    recovery_every_minutes: int


ASSUMED: Final = Assumed()
EVERYTHING: Final = Setup(1.0, True, IngressSettings.model_fields["recovery_every_minutes"].default)
NARROWED: Final = Setup(0.5, False, 360)


def company(people: int, departments: int, roles: int, templates: int) -> Company:
    """One whose departments are of one size."""
    return Company(people, (people // departments,) * departments, roles, templates)


COMPANIES: Final = (
    company(100, 10, 5, 10),
    company(1_000, 100, 10, 20),
    company(10_000, 1_000, 50, 40),
)


def full_sync(of: Company) -> dict[str, int]:
    """Calls, by API, of an app that sees the whole company."""
    departments = len(of.members)
    return {
        "auth/scopes": 1,
        "v2/department/listsub": departments,
        "v2/department/get": departments,
        "v2/user/list": sum(max(1, ceil(count / PAGE_SIZE)) for count in of.members),
        "role/list": max(1, ceil(of.groups / ROLE_GROUPS_PAGE)),
        "v2/user/get": of.people,
    }


def full_syncs() -> int:
    """In a month, by ``RECONCILE_EVERY_DAYS``."""
    return ceil(DAYS / float(AddressSyncSettings.model_fields["reconcile_every_days"].default))


def exempt_calls(of: Company) -> dict[str, int]:
    """Calls that do not count: of the first full sync, and of an ordinary month."""
    one = sum(full_sync(of).values()) - 1
    return {
        "first": one,
        "month": one * full_syncs() + ceil(of.people * ASSUMED.changes),
    }


def one_resync(of: Company, open_approvals: int, started: int) -> int:
    """Calls of one resync request: ids of each template that the archive or an action knows, a document for
    each approval that is open or was ``started`` in its time."""
    return max(of.templates, ceil(started / IDS_PAGE)) + open_approvals + started


def calls(of: Company, setup: Setup) -> dict[str, int]:
    """Calls of a month that count, by what they are for."""
    approvals = of.people * ASSUMED.approvals
    known = approvals * setup.templates
    open_approvals = ceil(known * ASSUMED.open_days / DAYS) if setup.tasks else 0
    by_oa = ceil(approvals * ASSUMED.started)
    return {
        "scopes": full_syncs() * full_sync(of)["auth/scopes"],
        "documents": ceil(known * (1 + (ASSUMED.late if setup.tasks else 0))),
        "files": ceil(known * ASSUMED.files),
        "resyncs": ASSUMED.resyncs * one_resync(of, open_approvals, 0),
        "outbound": by_oa * 4,
        "recovery": DAYS * 24 * 60 // setup.recovery_every_minutes,
        "stream": ceil(2 * DAYS * 24 / ASSUMED.lasts_h),
    }


def pushes(of: Company, setup: Setup) -> int:
    """Pushes of a month that count: of an instance its end, and its start and two for each task if ``tasks``
    are subscribed."""
    each = 2 + 2 * ASSUMED.approvers if setup.tasks else 1
    return ceil(of.people * ASSUMED.approvals * setup.templates * each)


_WORDS: Final = {
    "en": {
        "calls": "calls that count, in a month",
        "people": "{} people",
        "scopes": "address-sync: `auth/scopes`, once for each full sync",
        "documents": "approval: documents",
        "files": "approval: addresses of files, with `ARCHIVE_DIR`",
        "resyncs": "approval: two resync requests",
        "outbound": "outbound: start, end, to-do, tick",
        "recovery": "recovery: the failed list",
        "stream": "Stream: openings of two connections",
        "sum": "**together**",
        "pushes": "**pushes that count**",
        "free": "calls that do not count",
        "first": "address-sync, the first full sync",
        "month": "address-sync, every month after",
        "departments": "departments, roles, templates",
    },
    "zh": {
        "calls": "每月计入额度的调用",
        "people": "{} 人",
        "scopes": "address-sync：`auth/scopes`，每次全量同步一次",
        "documents": "approval：审批详情",
        "files": "approval：附件地址（设置了 `ARCHIVE_DIR`）",
        "resyncs": "approval：两次 resync 请求",
        "outbound": "outbound：发起、结束、待办、完成待办",
        "recovery": "recovery：推送失败列表",
        "stream": "Stream：两条连接的建立",
        "sum": "**合计**",
        "pushes": "**计入额度的推送**",
        "free": "不计入额度的调用",
        "first": "address-sync，第一次全量同步",
        "month": "address-sync，此后每月",
        "departments": "部门、角色、模板",
    },
}


def tables(lang: str) -> dict[str, str]:
    """``{name: table in Markdown}``: ``everything``, ``narrowed`` and ``free``."""
    words = _WORDS[lang]
    people = [words["people"].format(f"{of.people:,}") for of in COMPANIES]

    def table(head: str, rows: list[tuple[str, list[str]]]) -> str:
        lines = [[head, *people], ["---", *["---:"] * len(people)], *([name, *row] for name, row in rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def of_setup(setup: Setup) -> str:
        spent = [calls(of, setup) for of in COMPANIES]
        rows = [(words[name], [f"{one[name]:,}" for one in spent]) for name in spent[0]]
        rows.append((words["sum"], [f"**{sum(one.values()):,}**" for one in spent]))
        rows.append((words["pushes"], [f"**{pushes(of, setup):,}**" for of in COMPANIES]))
        return table(words["calls"], rows)

    free = [exempt_calls(of) for of in COMPANIES]
    shapes = [f"{len(of.members):,} / {of.roles} / {of.templates}" for of in COMPANIES]
    return {
        "everything": of_setup(EVERYTHING),
        "narrowed": of_setup(NARROWED),
        "free": table(
            words["free"],
            [
                (words["departments"], shapes),
                *((words[name], [f"{one[name]:,}" for one in free]) for name in ("first", "month")),
            ],
        ),
    }


def with_tables(page: str, lang: str) -> str:
    """``page`` with its tables as they are computed: each stands behind ``<!-- quota: name -->``."""
    for name, text in tables(lang).items():
        mark = f"<!-- quota: {name} -->\n"
        before, found, after = page.partition(mark)
        if not found:
            raise ValueError(f"the page has no {mark.strip()} before its table")
        rest = after.splitlines(keepends=True)
        page = before + mark + text + "\n" + "".join(dropwhile(lambda line: line.startswith("|"), rest))
    return page


if __name__ == "__main__":
    for lang, path in PAGES.items():
        path.write_text(with_tables(path.read_text(encoding="utf-8"), lang), encoding="utf-8")
