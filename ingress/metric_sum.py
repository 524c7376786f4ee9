"""One page of metrics for several processes: what adds up is added, gauges by what they mean. Pure.

A counter of the sum must not fall while one of them is silent or was started again: whoever reads it would
take that for a restart of all, and count anew what the others had counted long ago.
"""

from collections.abc import Callable, Iterable

_LARGEST = (
    "dingbridge_journal_oldest_waiting_seconds",
    "dingbridge_clock_skew_seconds",
    "dingbridge_last_callback_timestamp_seconds",
    "dingbridge_recovery_oldest_seconds",
    "dingbridge_recovery_last_success_timestamp_seconds",
)
_SMALLEST = (
    "dingbridge_journal_free_bytes",
    "dingbridge_journal_writable",
    "dingbridge_kafka_connected",
    "process_start_time_seconds",
)
_RISING = ("counter", "histogram", "summary")


def merge(pages: Iterable[str]) -> str:
    """Merge pages in Prometheus' text format, of processes that have the same metrics.

    Ages, skews and times become the largest, free space and yes-or-no the smallest, all else the sum.
    """
    families: dict[str, tuple[list[str], dict[str, float]]] = {}
    for page in pages:
        header: list[str] = []
        samples: dict[str, float] = {}
        for line in page.splitlines():
            if line.startswith("# HELP "):
                header, samples = families.setdefault(line.split(" ", 3)[2], ([], {}))
            if line.startswith("#"):
                if line not in header:
                    header.append(line)
            elif line:
                name, _, value = line.rpartition(" ")
                rule = _rule(name)
                number = float(value)
                samples[name] = rule(samples[name], number) if name in samples else number
    lines: list[str] = []
    for header, samples in families.values():
        lines += header
        lines += [f"{name} {_text(value)}" for name, value in samples.items()]
    return "\n".join(lines) + "\n"


def counted(page: str) -> str:
    """What of ``page`` only ever rises: its counters, histograms and summaries."""
    kept: list[str] = []
    family: list[str] = []
    for line in [*page.splitlines(), "# HELP "]:
        if line.startswith("# HELP "):
            if any(part.startswith("# TYPE ") and part.rpartition(" ")[2] in _RISING for part in family):
                kept += family
            family = []
        family.append(line)
    return "".join(f"{line}\n" for line in kept)


class Pages:
    """The pages of one process and of those in whose place it was started."""

    def __init__(self) -> None:
        self.life = 0
        self._last = self._before = ""

    def ended(self) -> None:
        """The process is no more; the next one counts from 0."""
        self.life += 1
        self._before, self._last = merge([self._before, counted(self._last)]), ""

    def read(self, life: int, page: str | None) -> list[str]:
        """What stands for it in the sum, now that ``page`` was read, or none was, of the process that ran
        when ``life`` was looked up."""
        if page is None or life != self.life:
            return [self._before, counted(self._last)]
        self._last = page
        return [self._before, page]


def _rule(name: str) -> Callable[[float, float], float]:
    if name.startswith(_LARGEST):
        return lambda a, b: a if abs(a) >= abs(b) else b
    if name.startswith(_SMALLEST) or name.partition("{")[0].endswith("_created"):
        return min
    return lambda a, b: a + b


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
