"""What the demo shows, on a terminal and in a pipe."""

import io
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from dev.demo.databases import Counts
from dev.demo.poller import Figures
from dev.demo.summary import as_kcat
from dev.demo.table import Screen, live_table, milliseconds, plain_line, topics_line

FIGURES = Figures(
    elapsed_s=12.3,
    pushed=240,
    answered=231,
    failed_attempts=42,
    pending=9,
    p50_ms=4.123,
    p99_ms=38.4,
    waiting=3,
    missing=5,
    lost=2,
    topics={"user_add_org": 17, "bpms_task_change": 80, "org_admin_add": 0},
    rows=Counts(71, 3, 14, 80, 19, 4),
)


def piped() -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(Console(file=out, highlight=False)), out


def test_a_plain_line_has_every_figure() -> None:
    assert plain_line(FIGURES).strip() == (
        "12 s  pushed 240, answered 231, failed attempts 42, p50/p99 4.1/38 ms | Kafka 97 records | "
        "OA 71 employees, 3 left, 14 departments, 80 memberships | 19 approvals archived, 4 leaves | "
        "on the way 3, lost 2"
    )
    assert "the ingress is down" in plain_line(Figures())
    assert topics_line(FIGURES).split(maxsplit=1)[1] == "bpms_task_change 80, user_add_org 17"


def test_a_pipe_gets_whole_lines_and_not_too_many() -> None:
    screen, out = piped()
    with screen.moving():
        for _ in range(50):
            screen.figures(FIGURES)
        screen.line("the ingress is killed")
        screen.figures(FIGURES, always=True)
    lines = out.getvalue().splitlines()
    assert lines[0] == plain_line(FIGURES)
    assert lines[1:3] == ["the ingress is killed", plain_line(FIGURES)]
    assert "user_add_org 17" in lines[3]
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_a_table_that_fits() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, highlight=False, color_system=None)
    screen = Screen(console)
    with screen.moving():
        screen.figures(FIGURES)
    text = out.getvalue()
    for words in ("pushed", "240", "4.1 / 38", "71 / 3", "user_add_org", "answered, lost"):
        assert words in text
    width = max(len(line.rstrip()) for line in console.render_lines(live_table(FIGURES)) for line in [""])
    assert width <= 80


def test_text_is_never_read_as_markup() -> None:
    screen, out = piped()
    screen.line("[bold]not bold[/bold] [1]")
    screen.rows(["name"], [("[red]x",), (None,)])
    assert "[bold]not bold[/bold] [1]" in out.getvalue()
    assert "[red]x" in out.getvalue()


def test_milliseconds() -> None:
    assert [milliseconds(v) for v in (None, 0.44, 4.16, 12.7)] == ["-", "0.4", "4.2", "13"]


def test_a_record_as_kcat_shows_it() -> None:
    headers = [("content-type", b"application/json"), ("dingbridge-type", b"user_add_org")]
    record = cast(Any, SimpleNamespace(key=b"ding1:01", headers=headers, value='{"名":1}'.encode()))
    assert as_kcat(record) == (
        'Key: ding1:01\nHeaders: content-type=application/json,dingbridge-type=user_add_org\nValue: {"名":1}'
    )
