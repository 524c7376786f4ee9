"""What ``dingbridge doctor`` finds, looked at in the background: no page waits for it.

At most once a minute while somebody watches, and without DingTalk's Open API, whose calls count.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dingbridge.doctor import run
from dingbridge.doctor.checks import dead_letters
from dingbridge.doctor.findings import Finding, Lang, Level, found, read_words
from dingbridge.doctor.parts import load_checks
from dingbridge.logging import place_of

EACH_S: Final = 60.0
_WITHIN_S: Final = 45.0
_NOT_HERE: Final = ("settings.", "key.", "api.", "tags.", "url.")
"""Findings about what the console's own environment may lack, or what only the Open API has."""
_NOT_CHECKED: Final = ("settings.stopped", "settings.no_keys")


class Doctor:
    """``parts`` are those that run where the doctor looks: none for all, the ingress included. ``letters``
    gives the dead letters that wait, by consumer, as the console's index knows them: no topic is read."""

    def __init__(self, parts: Sequence[str], letters: Callable[[], Mapping[str, int]]) -> None:
        self._parts, self._letters = parts, letters
        self.at: float | None = None
        self.not_checked: tuple[Finding, ...] = ()
        """What the last look could not check, if anything."""
        self._found: tuple[Finding, ...] = ()
        self._words = read_words("dingbridge.doctor")
        self._looking: asyncio.Task[None] | None = None

    def wanted(self) -> None:
        """Somebody watches: look, unless that was done lately."""
        if self._looking is not None and not self._looking.done():
            return
        if self.at is None or time.time() - self.at > EACH_S:
            self._looking = asyncio.create_task(self._look())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Errors and warnings of the last look, and the dead letters that wait now."""
        return (*self._found, *dead_letters.judge(dead_letters.Seen(self._letters())))

    @property
    def stopped(self) -> bool:
        """Whether the last look checked nothing, so that there is no count."""
        return any(one.code == "settings.stopped" for one in self.not_checked)

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def said(self, finding: Finding, lang: Lang) -> tuple[str, str]:
        """Cause and remedy."""
        return finding.said(self._words, lang)

    def is_error(self, finding: Finding) -> bool:
        return finding.level(self._words) is Level.ERROR

    async def _look(self) -> None:
        findings: list[Finding] = []
        try:
            checks, findings = await asyncio.to_thread(load_checks)
            for check in checks.values():
                self._words |= check.words
            async with asyncio.timeout(_WITHIN_S):
                await run.examine(
                    url=None,
                    app_name=None,
                    wanted=self._parts,
                    report=findings.extend,
                    checks=checks,
                    in_background=True,
                )
        except Exception as error:  # TimeoutError, or a fault of ours: a finding like others
            findings.append(
                found("doctor.fault", check="doctor", error=type(error).__name__, place=place_of(error))
            )
        self.not_checked = tuple(one for one in findings if one.code in _NOT_CHECKED)
        kept = [one for one in findings if not one.code.startswith(_NOT_HERE)]
        self._found = tuple(one for one in kept if one.level(self._words) in (Level.ERROR, Level.WARNING))
        self.at = time.time()
