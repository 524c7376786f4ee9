"""The table of one run: printed as it comes, and written as Markdown with the machine and the versions."""

import platform
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import apsw
import psutil

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""What was measured of each server, round by round."""


_READ_IT = (
    "Each part names its run. A ratio is the median of that run's rounds. Behind it stand the lowest and the "
    "highest ratio of a round to the round before, of the same thing: what lies between is noise. Absolute "
    "figures are this machine's at that hour."
)


class Results:
    """Collects lines; each says what is compared, what came out, and what was to be reached."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._parts: list[str] = []

    def note(self, text: str) -> None:
        self._notes.append(text)

    def add(self, text: str) -> None:
        """Print a part of the table, and keep it for the file, whose parts may be of several runs."""
        print(text, flush=True)
        heading, end, rest = text.partition("\n")
        if heading.startswith("## "):
            text = f"{heading}\n\n{_this_run()}.{end}{rest}"
        self._parts.append(text)

    def throughput(self, connections: int, rounds: Rounds, of_naive: float) -> None:
        bare, naive, ours, down = rounds
        per_s = Measured(rounds, "per_s")
        self.add(
            "\n".join(
                [
                    f"## As fast as possible, {connections} connections",
                    "",
                    *_table("server", rounds),
                    "",
                    per_s.target("throughput, ingress : bare aiohttp", ours, bare, 0.35),
                    per_s.target("throughput, ingress : naive bridge", ours, naive, of_naive),
                    Measured(rounds, "cpu_us").target("CPU, ingress : naive bridge", ours, naive, most=1.0),
                    Measured(rounds, "p99_ms").target("p99, ingress : naive bridge", ours, naive, most=1.0),
                    per_s.target("throughput, Kafka down : Kafka up", down, ours, 0.95),
                    f"- after a round the publisher was {_median(rounds[ours], 'behind_s'):.2f} s behind",
                ]
            )
        )

    def stream(self, at_once: int, rounds: Rounds) -> None:
        http, stream = rounds
        self.add(
            "\n".join(
                [
                    f"## Stream beside HTTP, {at_once} callbacks under way",
                    "",
                    *_table("ingress", rounds),
                    "",
                    Measured(rounds, "per_s").target("throughput, Stream : HTTP", stream, http, 1.0),
                    Measured(rounds, "cpu_us").target("CPU, Stream : HTTP", stream, http, most=1.0),
                ]
            )
        )

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

    def draining(self, count: int, rates: Mapping[str, Sequence[float]]) -> None:
        """``rates`` in callbacks a second, by round: of ``send``, of batches by hand, of the publisher."""
        sends, batches, ours = rates
        measured = Measured.of(rates)
        lines = ["## Draining", "", "| what | callbacks/s |", "|---|---|", *measured.rows(), ""]
        words = f"draining {count:,}, publisher : aiokafka's"
        lines.append(measured.target(f"{words} send and gather", ours, sends, 0.7))
        lines.append(measured.target(f"{words} batches by hand", ours, batches, 0.45))
        self.add("\n".join(lines))

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
        path.write_text(
            f"# Figures\n\n{_READ_IT}\n\n"
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


class Measured:
    """One figure of several things, round by round."""

    def __init__(self, rounds: Rounds, figure: str) -> None:
        self._of = {name: [one[figure] for one in all_of] for name, all_of in rounds.items()}

    @classmethod
    def of(cls, figures: Mapping[str, Sequence[float]]) -> "Measured":
        return cls({name: [{"": one} for one in all_of] for name, all_of in figures.items()}, "")

    def rows(self) -> list[str]:
        """Lines of a table: each thing with its median."""
        return [f"| {name} | {statistics.median(all_of):,.0f} |" for name, all_of in self._of.items()]

    def target(self, words: str, some: str, other: str, least: float = 0.0, *, most: float = 0.0) -> str:
        """The line that compares two things; ``least`` or ``most`` is the goal. Rounds are compared one by
        one: a machine's mood changes between them."""
        ratio = statistics.median(a / b for a, b in zip(self._of[some], self._of[other], strict=True))
        steps = [b / a for name in (some, other) for a, b in pairwise(self._of[name])]
        noise = f"; against themselves {min(steps):.2f} to {max(steps):.2f}" if steps else ""
        return target(words, ratio, least or most, most=bool(most)) + noise


def _median(rounds: Sequence[Mapping[str, float]], figure: str) -> float:
    return statistics.median(one[figure] for one in rounds)


def _table(what: str, rounds: Rounds) -> list[str]:
    lines = [
        f"| {what} | callbacks/s | p50 ms | p99 ms | CPU µs per callback, all its processes |",
        "|---|---|---|---|---|",
    ]
    for name, all_of in rounds.items():
        per_s, p50, p99, cpu = (_median(all_of, key) for key in ("per_s", "p50_ms", "p99_ms", "cpu_us"))
        lines.append(f"| {name} | {per_s:,.0f} | {p50:.1f} | {p99:.1f} | {cpu:.0f} |")
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
