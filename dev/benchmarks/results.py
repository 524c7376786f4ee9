"""The table of one run: printed as it comes, and written as Markdown with the machine and the versions."""

import platform
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import apsw
import psutil


class Results:
    """Collects lines; each says what is compared, what came out, and what was to be reached."""

    def __init__(self, *, large: bool) -> None:
        self._title, self._large = "Figures of large sizes" if large else "Figures", large
        self._notes: list[str] = []
        self._parts: list[str] = []

    def note(self, text: str) -> None:
        self._notes.append(text)

    def add(self, text: str) -> None:
        """Print a part of the table, and keep it for the file."""
        print(text, flush=True)
        heading, end, rest = text.partition("\n")
        if self._large and heading.startswith("## "):  # parts of one file may be of several runs
            text = f"{heading}\n\n{_this_run()}.{end}{rest}"
        self._parts.append(text)

    def throughput(self, connections: int, rows: dict[str, dict[str, float]], of_naive: float) -> None:
        lines = [f"## As fast as possible, {connections} connections", "", *_table("server", rows)]
        bare, naive, ours, down = rows.values()
        lines += [
            "",
            target("throughput, ingress : bare aiohttp", ours["per_s"] / bare["per_s"], 0.35),
            target("throughput, ingress : naive bridge", ours["per_s"] / naive["per_s"], of_naive),
            target("CPU, ingress : naive bridge", ours["cpu_us"] / naive["cpu_us"], 1.0, most=True),
            target("p99, ingress : naive bridge", ours["p99_ms"] / naive["p99_ms"], 1.0, most=True),
            target("throughput, Kafka down : Kafka up", down["per_s"] / ours["per_s"], 0.95),
            f"- after a round the publisher was {ours['behind_s']:.2f} s behind (median)",
        ]
        self.add("\n".join(lines))

    def stream(self, at_once: int, rows: dict[str, dict[str, float]]) -> None:
        lines = [f"## Stream beside HTTP, {at_once} callbacks under way", "", *_table("ingress", rows)]
        http, stream = rows.values()
        lines += [
            "",
            target("throughput, Stream : HTTP", stream["per_s"] / http["per_s"], 1.0),
            target("CPU, Stream : HTTP", stream["cpu_us"] / http["cpu_us"], 1.0, most=True),
        ]
        self.add("\n".join(lines))

    def latency(self, rate: int, rows: dict[str, dict[str, float]], readable_ms: Sequence[float]) -> None:
        """``rows`` are of the one to compare with, and of the ingress; ``readable_ms`` is sorted."""
        lines = [
            f"## At a steady {rate} callbacks/s",
            "",
            "| server | p50 ms | p99 ms | p99.9 ms |",
            "|---|---|---|---|",
            *(
                f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['p999_ms']:.1f} |"
                for name, row in rows.items()
            ),
        ]
        synced, ours = rows.values()
        count = len(readable_ms)
        p50, p99 = readable_ms[count // 2], readable_ms[int(count * 0.99)]
        lines += [
            "",
            f"- answer: p99 {ours['p99_ms']:.1f} ms (to reach: < 20 ms){_mark(ours['p99_ms'] < 20)}",
            target("p99.9, ingress : an fsync for each", ours["p999_ms"] / synced["p999_ms"], 3.0, most=True),
            f"- from receipt to readable in Kafka, {count} records: p50 {p50:.0f} ms, "
            f"p99 {p99:.0f} ms (to reach: p99 < 100 ms){_mark(p99 < 100)}",
        ]
        self.add("\n".join(lines))

    def journal_bytes(self, count: int, per_callback: float, plain: float) -> None:
        self.add(
            f"## {count:,} callbacks waiting\n\n"
            + target(
                f"journal bytes : plaintext bytes ({per_callback:.0f} : {plain:.0f})",
                per_callback / plain,
                1.5,
                most=True,
            )
        )

    def accepting(self, count: int, empty: float, full: float) -> None:
        words = f"rate of accepting, {count:,} waiting : empty ({full:,.0f} : {empty:,.0f} per s)"
        self.add(target(words, full / empty, 0.9))

    def memory(self, count: int, at_start: float, after_load: float, empty: float) -> None:
        self.add(
            f"- memory with {count:,} waiting: {at_start:+.0f} MB at start, {after_load:+.0f} MB after the "
            f"load, against {empty:.0f} MB with an empty journal (to reach: at most +50 MB)"
            f"{_mark(max(at_start, after_load) <= 50)}"
        )

    def draining(self, count: int, sends: float, batches: float, ours: float) -> None:
        words = f"draining {count:,}, publisher : aiokafka's"
        self.add(
            target(f"{words} send and gather ({ours:,.0f} : {sends:,.0f} per s)", ours / sends, 0.7)
            + "\n"
            + target(f"{words} batches by hand ({ours:,.0f} : {batches:,.0f} per s)", ours / batches, 0.45)
        )

    def keep_others(self, path: Path) -> None:
        """Keep the parts that stand in ``path`` and that this run has no new ones for, of whatever size."""
        new = {_kind(part) for part in self._parts}
        _, *old = path.read_text(encoding="utf-8").split("\n## ")
        kept = [f"## {part.strip()}" for part in old]
        self._parts = [part for part in kept if _kind(part) not in new] + self._parts

    def write(self, path: Path) -> None:
        machine = (
            f"{psutil.cpu_count()} cores ({_cpu_model()}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
            f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
        )
        packages = ", ".join(
            f"{name} {version(name)}" for name in ("aiohttp", "aiokafka", "uvloop", "orjson", "pycryptodome")
        )
        notes = "\n".join(f"- {note}" for note in self._notes)
        run = "Each part names its run." if self._large else f"{_this_run()}."
        path.write_text(
            f"# {self._title}\n\n{run} "
            "Ratios are of one run; absolute figures are this machine's at that hour.\n\n"
            f"- {machine}\n- {packages}, SQLite {apsw.sqlite_lib_version()}\n{notes}\n\n"
            + "\n\n".join(self._parts)
            + "\n",
            encoding="utf-8",
        )
        print(f"written to {path}")


def _this_run() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}, by `{' '.join(['python -m dev.benchmarks', *sys.argv[1:]])}`"


def _kind(part: str) -> str:
    """The heading of a part without the numbers in it."""
    return re.sub(r"[\d,]+", "", part.partition("\n")[0])


def _table(what: str, rows: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        f"| {what} | callbacks/s | p50 ms | p99 ms | CPU µs per callback, all its processes |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = (
            name,
            f"{row['per_s']:,.0f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['cpu_us']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def target(words: str, ratio: float, goal: float, *, most: bool = False) -> str:
    """One line: what is compared, what came out, and whether that reaches ``goal`` (``most``: not above)."""
    reached = ratio <= goal if most else ratio >= goal
    return (
        f"- {words}: **{ratio:.2f}** (to reach: {'at most' if most else 'at least'} {goal:g}){_mark(reached)}"
    )


def _mark(reached: bool) -> str:
    return "" if reached else " — not reached"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
