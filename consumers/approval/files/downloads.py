"""Fetches the attachments that the archive knows of, beside the events: a file never holds up an approval.

``approval_attachments`` is the list of what is to be done, so a process that dies goes on where it was. What
fails is tried again with growing delays; what can never come says why. An address of an attachment comes from
DingTalk's API (one call each), asked of the app that told of the approval; that of a photo from the form,
which anybody in the company fills in, so it must be https and lead to a public address. Not here: how a file
is kept (``store.py``).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import structlog
from sqlalchemy import Row, Table, and_, func, select, update

from consumers.approval.archive.attachments import DONE, REFUSED, WAITING
from consumers.approval.fetcher import ClientOf
from consumers.approval.files.store import FileStore, TooLarge
from consumers.approval.metrics import ApprovalMetrics
from consumers.approval.rights import MissingRights
from consumers.approval.settings import ApprovalSettings
from consumers.approval.tables import approval_attachments, approval_instances
from dingbridge import Database, DependencyUnavailable, Reject
from dingbridge.dingtalk.error_codes import says_not_there
from dingbridge.dingtalk.errors import ApiError, NoAddress
from dingbridge.errors import SettingsError
from dingbridge.ssrf import AddressGuard, guarded_connector, refusal

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
"""How often new attachments are looked for, in s."""
AT_ONCE = 4
CLAIMED_FOR = timedelta(minutes=15)
"""For so long no other process takes up a download: longer than one can take."""
DOWNLOAD_TIMEOUT_S = 600.0
CHUNK_BYTES = 256 * 1024
API_PAUSE_S = 60.0
FIRST_DELAY_S, LONGEST_DELAY_S = 30.0, 6 * 3600.0
MOST_ATTEMPTS = 30
"""About five days at these delays."""
GONE = frozenset({404, 410})
ORIGINATOR_LEFT = "userNotExist"
"""Of this call it is about neither the file nor the instance (seen in other integrations' manifests)."""
LEFT = (
    "whoever started the approval has left the company, and DingTalk gives no address of its files then: "
    "fetch it in DingTalk's client, or with the OA premium edition, whose "
    "v1.0/workflow/premium/processInstances/spaces/files/urls/download serves leavers"
)

_table: Table = approval_attachments


class _Failed(Exception):
    """A download that did not work; the text is for the archive, without values. ``final``: it never will."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class Downloads:
    """The downloads of one consumer process. Without ``ARCHIVE_DIR`` there are none."""

    def __init__(
        self,
        database: Database,
        client_of: ClientOf,
        settings: ApprovalSettings,
        metrics: ApprovalMetrics,
        rights: MissingRights | None = None,
    ) -> None:
        self._rights = rights or MissingRights()
        self._database, self._client_of, self._metrics = database, client_of, metrics
        self._paused: dict[str, datetime] = {}
        """Apps whose API does not answer now, or which lack the right, and until when they are not asked:
        another company's may answer, and a photo needs no app."""
        self._most = settings.archive_max_bytes
        self._store = None if settings.archive_dir is None else FileStore(settings.archive_dir)

    async def run(self) -> None:
        """Download until cancelled. Raises ``DependencyUnavailable`` when nothing can be got now."""
        if self._store is None:
            return
        await self.open_folder()
        while True:
            if await self.once() == 0:
                await asyncio.sleep(LOOK_EVERY_S)

    async def open_folder(self) -> None:
        """Make the folder ready. Raises ``DependencyUnavailable`` when it cannot be written."""
        assert self._store is not None  # noqa: S101 - ``run`` ends without one
        try:
            await asyncio.to_thread(self._store.open)
        except OSError as error:
            raise DependencyUnavailable(f"ARCHIVE_DIR cannot be written ({error.strerror})") from error

    async def once(self) -> int:
        """Try those that are due, a few at a time; how many were tried. Raises as ``run``."""
        now = datetime.now(UTC)
        app = approval_instances.c.app
        due = (
            select(_table, app)
            .join(
                approval_instances,
                and_(
                    approval_instances.c.corp_id == _table.c.corp_id,
                    approval_instances.c.instance_id == _table.c.instance_id,
                ),
            )
            .where(
                _table.c.state == WAITING,
                _table.c.next_attempt_at <= now,
                app.not_in([name for name, until in self._paused.items() if until > now])
                | (_table.c.kind == "photo"),
            )
        )
        rows = (
            await self._database.reader().execute(due.order_by(_table.c.next_attempt_at).limit(AT_ONCE))
        ).all()
        waiting = await self._database.reader().scalar(
            select(func.count()).select_from(_table).where(_table.c.state == WAITING)
        )
        self._metrics.attachments_waiting.set(waiting)
        if rows:
            async with _sessions() as sessions:
                tried = await asyncio.gather(
                    *(self._try(row, sessions) for row in rows), return_exceptions=True
                )
            for problem in tried:
                if isinstance(problem, BaseException):
                    raise problem
        return len(rows)

    async def _try(self, row: Row[Any], sessions: "_Sessions") -> None:
        if not await self._claim(row):
            return
        try:
            sha256, size = await self._download(row, sessions)
        except _Failed as error:
            await self._write_failure(row, error)
            return
        except ApiError as error:
            pause = max(error.retry_after_s or 0.0, API_PAUSE_S)
            self._paused[row.app] = datetime.now(UTC) + timedelta(seconds=pause)
            self._rights.note(row.app, error)
            log.warning("approval.attachments_wait", app=row.app, code=error.code, retry_in_s=pause)
            if error.about == "busy" and error.code is not None:
                # trouble with this file alone looks the same: it must not keep the others from their turn
                await self._write_failure(row, _Failed(f"DingTalk does not give its address ({error.code})"))
            else:
                await self._update(row, next_attempt_at=row.next_attempt_at)  # nobody's attempt
            return
        except BaseException:
            # a dependency is down, or we are to stop: nobody's attempt
            await self._update(row, next_attempt_at=row.next_attempt_at)
            raise
        await self._update(
            row, state=DONE, reason=None, sha256=sha256, size=size, attempts=row.attempts + 1,
            downloaded_at=datetime.now(UTC),
        )  # fmt: skip
        self._metrics.attachment("done")
        log.info("approval.attachment_downloaded", instance_id=row.instance_id, bytes=size)

    async def _claim(self, row: Row[Any]) -> bool:
        """Keep other processes away from it for a while; False when one has it."""
        async with self._database.transaction() as tx:
            claimed = await tx.execute(
                update(_table)
                .where(_is(row), _table.c.state == WAITING, _table.c.next_attempt_at == row.next_attempt_at)
                .values(next_attempt_at=datetime.now(UTC) + CLAIMED_FOR)
            )
        return claimed.rowcount == 1

    async def _download(self, row: Row[Any], sessions: "_Sessions") -> tuple[str, int]:
        """Hash and size. Raises ``_Failed``, ``DependencyUnavailable``, or ``ApiError`` when the app's API is
        down."""
        session = sessions.public if row.kind == "photo" else sessions.any
        found: str | None = row.url if row.kind == "photo" else await self._url(row)
        if row.kind == "photo" and not str(found).startswith("https://"):
            raise _Failed("its address is not https", final=True)
        assert self._store is not None  # noqa: S101 - ``run`` ends without one
        try:
            if found is None:
                return await self._store.save(_nothing(), most=self._most)
            async with session.get(found, allow_redirects=False) as response:
                if response.status != 200:
                    raise _Failed(f"HTTP {response.status}", final=response.status in GONE)
                if (response.content_length or 0) > self._most:
                    raise TooLarge
                return await self._store.save(_chunks(response), most=self._most)
        except TooLarge:
            raise _Failed(f"larger than ARCHIVE_MAX_BYTES ({self._most})", final=True) from None
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if refusal(error) is not None:
                raise _Failed("its address points inside", final=True) from None
            # not its text, which holds the address
            raise _Failed(f"no answer ({type(error).__name__})") from None
        except OSError as error:
            raise DependencyUnavailable(
                f"attachments cannot be written to ARCHIVE_DIR ({error.strerror})"
            ) from error

    async def _url(self, row: Row[Any]) -> str | None:
        """None for a file of 0 bytes, which has no address."""
        try:
            client = self._client_of(row.app, row.corp_id)
            return await client.attachment_url(row.instance_id, row.attachment_id.removeprefix("file:"))
        except (Reject, SettingsError) as error:
            raise _Failed(f"app {row.app}: {error}") from None
        except NoAddress as error:
            if row.file_size:
                raise _Failed(f"DingTalk gives no address for its {row.file_size} bytes") from error
            return None
        except ApiError as error:
            if error.unavailable or error.about == "right":
                raise
            if error.code == ORIGINATOR_LEFT:
                raise _Failed(LEFT, final=True) from None
            gone = says_not_there(error)
            words = "does not know the file" if gone else "does not give its address"
            raise _Failed(f"DingTalk {words} ({error.code})", final=gone) from None

    async def _write_failure(self, row: Row[Any], error: _Failed) -> None:
        attempts = row.attempts + 1
        if error.final or attempts >= MOST_ATTEMPTS:
            reason = error.reason if error.final else f"given up after {attempts} attempts: {error.reason}"
            await self._update(row, state=REFUSED, reason=reason, attempts=attempts)
            self._metrics.attachment("refused")
            log.warning("approval.attachment_refused", instance_id=row.instance_id, reason=reason)
            return
        delay = min(FIRST_DELAY_S * 2.0**row.attempts, LONGEST_DELAY_S)
        again = datetime.now(UTC) + timedelta(seconds=delay)
        await self._update(row, reason=error.reason, attempts=attempts, next_attempt_at=again)
        self._metrics.attachment("retry")
        log.warning(
            "approval.attachment_failed", instance_id=row.instance_id, reason=error.reason, retry_in_s=delay
        )

    async def _update(self, row: Row[Any], **values: Any) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(update(_table).where(_is(row)).values(**values))


class _Sessions:
    """Of ``public``, no connection leads to an address that is not."""

    def __init__(self) -> None:
        timeout = aiohttp.ClientTimeout(total=DOWNLOAD_TIMEOUT_S, sock_connect=10, sock_read=60)
        self.any = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        self.public = aiohttp.ClientSession(
            timeout=timeout,
            auto_decompress=False,
            connector=guarded_connector(AddressGuard()),
        )


@asynccontextmanager
async def _sessions() -> AsyncIterator[_Sessions]:
    sessions = _Sessions()
    try:
        yield sessions
    finally:
        await sessions.any.close()
        await sessions.public.close()


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        yield chunk


def _is(row: Row[Any]) -> Any:
    key = ("corp_id", "instance_id", "attachment_id")
    return and_(*(_table.c[name] == getattr(row, name) for name in key))
