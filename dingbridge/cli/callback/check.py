"""Does the public URL lead to this ingress? The doctor's look at it, repeated while an ingress is started.

No text here holds a query or a secret.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import aiohttp

from dingbridge.cli.callback.target import Target
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.doctor.checks import url as public
from dingbridge.doctor.findings import Finding, Level, found, read_words

WORDS: Final = read_words("dingbridge.doctor")


async def look(url: str, credentials: Credentials, to: Target, *, wait_s: float = 0) -> list[Finding]:
    """Push to ``url`` with ``credentials``, and ask the ingress of ``to`` whether it came there; again each
    second for ``wait_s`` until it does. What was found; raises nothing for it."""
    if not public.usable(url):
        return [found("url.invalid", url=public.shown(url))]
    deadline = time.monotonic() + wait_s
    async with aiohttp.ClientSession() as session:
        while True:
            seen = await public.look(session, url, credentials, to.admin)
            findings = public.judge(seen, from_internet=to.live)
            if problem(findings, "url.elsewhere") is None or time.monotonic() >= deadline:
                return findings
            await asyncio.sleep(1)


def problem(findings: Sequence[Finding], *too: str) -> str | None:
    """Why DingTalk would not get its answer, with the remedy: the first error, or the first of the codes
    ``too``."""
    for one in findings:
        if one.level(WORDS) is Level.ERROR or one.code in too:
            return " ".join(one.said(WORDS, "en"))
    return None
