"""Downloads attachments, beside the events: no approval waits for a file.

Each file is an entity of its own (``approval_entities``), so a process that dies goes on where it was. A
download that fails is tried again; one that cannot work gets its reason in ``approval_attachments``. The
address of an attachment comes from
DingTalk's API (one call each), by the app whose event it was: it must be https and public, or lead into one
of ``ARCHIVE_ALLOW_NETWORKS``. The address of a photo comes from the form, which anybody in the company fills
in, so it must be https and public. Not here: how a file is kept (``store.py``).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from sqlalchemy import ColumnElement, Row, select, update

from dingbridge import Conflict, Database, DependencyUnavailable
from dingbridge.consumers.approval.archive.attachments import DONE, REFUSED
from dingbridge.consumers.approval.files.store import FileStore, TooLarge
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import approval_attachments
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError, NoAddress, PermissionDenied
from dingbridge.errors import BridgeError
from dingbridge.mirror import Entities, Entity
from dingbridge.outgoing.proxy import failure
from dingbridge.snapshots.late_answers import look_again_s
from dingbridge.ssrf import AddressGuard, guarded_connector, proxy_past, refusal

log = structlog.get_logger(__name__)

DOWNLOAD_TIMEOUT_S = 600.0
HOLD_EVERY_S = 30.0
"""How often a download that goes on keeps its row from other processes, in s."""
CHUNK_BYTES = 256 * 1024
AGAIN_AFTER_S = 600.0
"""How long a file waits at least after its server failed, in s: each attempt costs a call of the month's."""
GONE = frozenset({404, 410})
BUSY = frozenset({408, 425, 429})
ORIGINATOR_LEFT = "userNotExist"
"""From this call, an error that concerns neither the file nor the instance (seen in other integrations'
manifests)."""
LEFT = (
    "whoever started the approval has left the company, and DingTalk gives no address of its files then: "
    "fetch it in DingTalk's client, or with the OA premium edition, whose "
    "v1.0/workflow/premium/processInstances/spaces/files/urls/download serves leavers"
)


class _Failed(BridgeError):
    """A server that did not give the file; the text is for the archive, without values."""

    retry_after_s = AGAIN_AFTER_S


class _Refused(_Failed):
    """The answer is that it cannot be had. ``final``: without a second look."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Downloads:
    """The downloads of one consumer process. Without ``ARCHIVE_DIR`` no row of a file is read."""

    def __init__(
        self, entities: Entities, database: Database, metrics: ApprovalMetrics, settings: ApprovalSettings
    ) -> None:
        self._entities, self._database, self._metrics = entities, database, metrics
        self._most, self._allowed = settings.archive_max_bytes, settings.allowed
        self._store = None if settings.archive_dir is None else FileStore(settings.archive_dir)

    async def open_folder(self) -> None:
        """Make the folder ready. Raises ``DependencyUnavailable`` when it cannot be written."""
        assert self._store is not None  # noqa: S101 - not called without one
        try:
            await asyncio.to_thread(self._store.open)
        except OSError as error:
            raise DependencyUnavailable(f"ARCHIVE_DIR cannot be written ({error.strerror})") from error

    async def read(self, row: Row[Any], client: DingTalkClient) -> bool:
        """Download the file of ``row``; returns whether one was asked for. Raises ``_Failed``, ``ApiError``
        and ``DependencyUnavailable``: it is tried again."""
        this = select(approval_attachments).where(*file_of(row))
        file = (await self._database.reader().execute(this)).one_or_none()
        if file is None or file.state == DONE:
            async with self._database.transaction() as tx:
                await self._entities.settle(tx, row, None, {"state": None})
            return False
        try:
            sha256, size = await self._download(row, file, client)
        except _Refused as error:
            # an answer may be older than the approval: it is asked for again, and then believed
            again_s = None if error.final else look_again_s(row.reads + 1)
            await self._failed(row, str(error), again_s, final=again_s is None)
            return True
        except (_Failed, ApiError, DependencyUnavailable) as error:
            await self._note(row, _reason(error))
            raise
        values = {"state": DONE, "reason": None, "sha256": sha256, "size": size}
        async with self._database.transaction() as tx:
            if not await self._entities.settle(tx, row, None, {"reads": 0}, state=None, code=None):
                raise Conflict("another process has downloaded this file meanwhile")
            file_row = update(approval_attachments).where(*file_of(row))
            await tx.execute(file_row.values(**values, downloaded_at=datetime.now(UTC)))
        self._metrics.attachment("done")
        log.info("approval.attachment_downloaded", instance_id=file.instance_id, bytes=size)
        return True

    async def refused(self, row: Row[Any], code: str, again_s: float | None) -> None:
        """Its failures have lasted for an hour while others work; a command asks for it again."""
        file = select(approval_attachments.c.reason).where(*file_of(row))
        reason = await self._database.reader().scalar(file)
        await self._failed(row, f"given up after an hour: {reason or code}", None, final=True)

    async def _failed(self, row: Row[Any], reason: str, again_s: float | None, *, final: bool) -> None:
        due_ms = None if again_s is None else self._entities.now_ms() + round(again_s * 1000)
        async with self._database.transaction() as tx:
            settled = {"reads": 0 if final else row.reads + 1}
            await self._entities.settle(tx, row, due_ms, settled, state="refused" if final else None)
            values = {"reason": reason} | ({"state": REFUSED} if final else {})
            await tx.execute(update(approval_attachments).where(*file_of(row)).values(**values))
        self._metrics.attachment("refused" if final else "retry")
        event = "approval.attachment_refused" if final else "approval.attachment_failed"
        log.warning(event, instance_id=row.entity_id.partition("/")[0], reason=reason)

    async def _note(self, row: Row[Any], reason: str) -> None:
        """Say in the file's row why it is not there yet."""
        self._metrics.attachment("retry")
        async with self._database.transaction() as tx:
            await tx.execute(update(approval_attachments).where(*file_of(row)).values(reason=reason))

    async def _hold(self, row: Row[Any]) -> None:
        async with self._database.transaction() as tx:
            if not await self._entities.queue.renew(tx, row):
                raise Conflict("another process downloads this file")

    async def _download(self, row: Row[Any], file: Row[Any], client: DingTalkClient) -> tuple[str, int]:
        """Hash and size. Raises ``_Failed``, ``DependencyUnavailable``, or ``ApiError``."""
        photo = file.kind == "photo"
        found: str | None = file.url if photo else await _url(file, client)
        is_https = str(found).startswith("https://")
        if photo and not is_https:
            raise _Refused("its address is not https", final=True)
        allowed = () if photo else self._allowed
        assert self._store is not None  # noqa: S101 - ``run`` ends without one
        proxy = None
        try:
            if found is None:
                return await self._store.save(_nothing(), most=self._most)
            proxy = await proxy_past(found) if is_https else None
            connector = guarded_connector(AddressGuard(allowed, only_allowed=not is_https))
            async with (
                _session(connector if proxy is None else None) as session,
                session.get(found, proxy=proxy, allow_redirects=False) as response,
            ):
                if response.status >= 500 or response.status in BUSY:
                    raise _Failed(f"HTTP {response.status}")
                if response.status != 200:
                    raise _Refused(f"HTTP {response.status}", final=response.status in GONE)
                if encoding := response.headers.get("Content-Encoding"):
                    raise _Failed(f"its server encodes it ({encoding[:20]})")
                if photo and response.content_type == "text/html":
                    raise _Failed("its server answers with a page of HTML")
                if (response.content_length or 0) > self._most:
                    raise TooLarge
                return await self._store.save(self._chunks(row, response, file.file_size), most=self._most)
        except TooLarge:
            raise _Refused(f"larger than ARCHIVE_MAX_BYTES ({self._most})", final=True) from None
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if refusal(error) is not None:
                if photo:
                    raise _Refused("its address points inside", final=True) from None
                # not final: the setting may be mended, and the file is fetched then
                fault = "points inside, and to" if is_https else "is not https, and in"
                raise _Failed(f"its address {fault} no network of ARCHIVE_ALLOW_NETWORKS") from None
            # not its text, which holds the address
            raise _Failed(f"no answer ({failure(error, proxy) or type(error).__name__})") from None
        except OSError as error:
            raise DependencyUnavailable(
                f"attachments cannot be written to ARCHIVE_DIR ({error.strerror})"
            ) from error

    async def _chunks(
        self, row: Row[Any], response: aiohttp.ClientResponse, expected: int | None
    ) -> AsyncIterator[bytes]:
        """The file. Raises ``_Failed`` at its end if it has not as many bytes as ``expected`` (None: any).
        Raises ``Conflict`` when another process has taken it up."""
        size, held_ms = 0, self._entities.now_ms()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            yield chunk
            if self._entities.now_ms() - held_ms > HOLD_EVERY_S * 1000:
                held_ms = self._entities.now_ms()
                await self._hold(row)
        if expected is not None and size != expected:
            raise _Failed(f"{size} bytes came, and the form names {expected}")


def file_of(row: Row[Any] | Entity) -> list[ColumnElement[bool]]:
    """The where clause of the file whose entity ``row`` is."""
    instance_id, _, attachment_id = row.entity_id.partition("/")
    c = approval_attachments.c
    return [c.corp_id == row.corp_id, c.instance_id == instance_id, c.attachment_id == attachment_id]


def _reason(error: Exception) -> str:
    if isinstance(error, ApiError):
        return f"DingTalk does not give its address ({error.code})"
    return str(error)


async def _url(file: Row[Any], client: DingTalkClient) -> str | None:
    """The address of ``file``; None for a file of 0 bytes, which has none."""
    try:
        return await client.attachment_url(file.instance_id, file.attachment_id.removeprefix("file:"))
    except NoAddress as error:
        if file.file_size:
            raise _Refused(f"DingTalk gives no address for its {file.file_size} bytes") from error
        return None
    except ApiError as error:
        if error.code == ORIGINATOR_LEFT:
            raise _Refused(LEFT, final=True) from None
        if means_not_there(error):
            raise _Refused(f"DingTalk does not know the file ({error.code})") from None
        if isinstance(error, PermissionDenied) and error.about == "entity":
            raise _Refused(f"DingTalk does not give its address ({error.code})") from None
        raise


@asynccontextmanager
async def _session(connector: aiohttp.TCPConnector | None) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that asks for a file as it is, by ``connector`` or, for a proxy, by aiohttp's own."""
    timeout = aiohttp.ClientTimeout(total=DOWNLOAD_TIMEOUT_S, sock_connect=10, sock_read=60)
    async with aiohttp.ClientSession(
        timeout=timeout,
        auto_decompress=False,
        connector=connector,
        headers={"Accept-Encoding": "identity"},
    ) as session:
        yield session


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
