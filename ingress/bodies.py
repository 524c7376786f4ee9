"""Bodies that are not whole yet: how long each may take, and how much all of them may hold together.

What such bodies mean, and which answer they get, is decided in ``ingress/callback.py``. A body that came
whole with its head is none of this: there is no moment in which it waits.
"""

import asyncio

from aiohttp import StreamReader

from ingress.room import Room

BODY_TIMEOUT_S = 5.0
"""A body must be there within this; DingTalk's own deadline for the whole answer is 1.5 s."""

UNFINISHED_MAX_BYTES = 64 * 1024 * 1024
"""All bodies that are not whole yet may hold this together, whether they are few large ones or thousands of
small ones."""


class GivenUp(Exception):
    """The body had to make room for others."""


class Unfinished:
    """The bodies on their way, and the room that they share."""

    def __init__(self) -> None:
        self.room = Room[asyncio.Timeout](UNFINISHED_MAX_BYTES)

    async def read(self, content: StreamReader, limit: int) -> bytes:
        """The whole body, or of one beyond ``limit`` bytes a little more than these.

        Raises ``TimeoutError`` when it takes too long, ``GivenUp``, and what ``content`` does.
        """
        clock = asyncio.timeout(BODY_TIMEOUT_S)
        self.room.grew(clock, 0)
        body = bytearray()
        try:
            async with clock:
                async for chunk in content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        break
                    self._grew(clock, len(chunk))
        except TimeoutError:
            if clock not in self.room:
                raise GivenUp from None
            raise
        finally:
            self.room.left(clock)
        return bytes(body)

    def _grew(self, clock: asyncio.Timeout, count: int) -> None:
        if clock not in self.room:
            return  # given up, and on its way out
        for oldest in self.room.grew(clock, count):
            if not oldest.expired():
                oldest.reschedule(0)  # its time is over
