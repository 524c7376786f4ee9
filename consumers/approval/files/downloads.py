"""Downloads attachments, beside the events: no approval waits for a file.

``approval_attachments`` is the queue, so a process that dies goes on where it was. A download that fails is
tried again; one that can never work gets its reason in the row. The address of an attachment comes from
DingTalk's API (one call each), by the app whose event it was: it must be https and public, or lead into one
of ``ARCHIVE_ALLOW_NETWORKS``. The address of a photo comes from the form, which anybody in the company fills
in, so it must be https and public. Not here: how a file is kept (``store.py``).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import aiohttp
import structlog
from sqlalchemy import Row

from dingbridge import DependencyUnavailable, Reject
from dingbridge.consumers.approval.archive.attachments import DONE, REFUSED
from dingbridge.consumers.approval.fetcher import ClientOf, Fetcher
from dingbridge.consumers.approval.files.store import FileStore, TooLarge
from dingbridge.consumers.approval.queues.worker import QueueWorker
from dingbridge.consumers.approval.settings import ApprovalSettings
from dingbridge.consumers.approval.tables import approval_attachments
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError, NoAddress, PermissionDenied
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.outgoing.proxy import failure
from dingbridge.snapshots.late_answers import look_again_s
from dingbridge.ssrf import AddressGuard, guarded_connector, proxy_past, refusal
from dingbridge.work_queue import WorkQueue

log = structlog.get_logger(__name__)

DOWNLOAD_TIMEOUT_S = 600.0
LEASE_S = DOWNLOAD_TIMEOUT_S + 300
"""For so long no other process takes up a download: longer than one can take."""
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

downloads: Final = WorkQueue(approval_attachments, lease_s=LEASE_S)


class _Failed(BridgeError):
    """A server that did not give the file; the text is for the archive, without values."""

    retry_after_s = AGAIN_AFTER_S


class _Refused(_Failed):
    """The answer is that it cannot be had. ``final``: without a second look."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Downloads(QueueWorker):
    """The downloads of one consumer process. Without ``ARCHIVE_DIR`` there are none."""

    answers: ClassVar[tuple[type[Exception], ...]] = (_Refused,)

    def __init__(self, fetcher: Fetcher, client_of: ClientOf, settings: ApprovalSettings) -> None:
        super().__init__(fetcher.database, downloads)
        self._client_of, self._metrics, self._rights = client_of, fetcher.metrics, fetcher.rights
        self._most, self._allowed = settings.archive_max_bytes, settings.allowed
        self._store = None if settings.archive_dir is None else FileStore(settings.archive_dir)

    async def run(self) -> None:
        """Download until cancelled. Raises ``DependencyUnavailable`` when nothing can be got now."""
        if self._store is None:
            return
        await self.open_folder()
        await super().run()

    async def open_folder(self) -> None:
        """Make the folder ready. Raises ``DependencyUnavailable`` when it cannot be written."""
        assert self._store is not None  # noqa: S101 - ``run`` ends without one
        try:
            await asyncio.to_thread(self._store.open)
        except OSError as error:
            raise DependencyUnavailable(f"ARCHIVE_DIR cannot be written ({error.strerror})") from error

    async def claim(self, most: int) -> Sequence[Row[Any]]:
        due = await self._queue.depth(self._database.reader())
        self._metrics.attachments_waiting.set(sum(due.values()))
        return await super().claim(most)

    async def work(self, row: Row[Any]) -> None:
        sha256, size = await self._download(row)
        values = {"state": DONE, "reason": None, "sha256": sha256, "size": size}
        await self._release(row, **values, downloaded_at=datetime.now(UTC))
        self._metrics.attachment("done")
        log.info("approval.attachment_downloaded", instance_id=row.instance_id, bytes=size)

    def failed(self, row: Row[Any], error: Exception, retry_in_s: float | None) -> dict[str, Any]:
        values: dict[str, Any] = {}
        reason = str(error) if isinstance(error, _Failed) else error_location(error, "consumers")
        if isinstance(error, ApiError):
            self._rights.note(row.app, error)
            reason = f"DingTalk does not give its address ({error.code})"
        if isinstance(error, _Refused):
            # an answer may be older than the approval: it is looked at again, and then believed
            looks = row.attempts + 1
            retry_in_s = None if error.final else look_again_s(looks)
            again = None if retry_in_s is None else self._queue.now_ms() + round(retry_in_s * 1000)
            values = {"attempts": looks, "due_ms": again}
        elif retry_in_s is None:
            reason = f"given up after an hour: {reason}"
        refused = retry_in_s is None
        self._metrics.attachment("refused" if refused else "retry")
        log.warning(
            "approval.attachment_refused" if refused else "approval.attachment_failed",
            instance_id=row.instance_id,
            reason=reason,
            retry_in_s=retry_in_s,
        )
        return values | {"reason": reason} | ({"state": REFUSED} if refused else {})

    async def _download(self, row: Row[Any]) -> tuple[str, int]:
        """Hash and size. Raises ``_Failed``, ``DependencyUnavailable``, or ``ApiError``."""
        found: str | None = row.url if row.kind == "photo" else await self._url(row)
        is_https = str(found).startswith("https://")
        if row.kind == "photo" and not is_https:
            raise _Refused("its address is not https", final=True)
        allowed = () if row.kind == "photo" else self._allowed
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
                if row.kind == "photo" and response.content_type == "text/html":
                    raise _Failed("its server answers with a page of HTML")
                if (response.content_length or 0) > self._most:
                    raise TooLarge
                return await self._store.save(_chunks(response, row.file_size), most=self._most)
        except TooLarge:
            raise _Refused(f"larger than ARCHIVE_MAX_BYTES ({self._most})", final=True) from None
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if refusal(error) is not None:
                if row.kind == "photo":
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

    async def _url(self, row: Row[Any]) -> str | None:
        """None for a file of 0 bytes, which has no address."""
        try:
            client = self._client_of(row.app, row.corp_id)
            return await client.attachment_url(row.instance_id, row.attachment_id.removeprefix("file:"))
        except (Reject, SettingsError) as error:
            raise _Failed(f"app {row.app}: {error}") from None
        except NoAddress as error:
            if row.file_size:
                raise _Refused(f"DingTalk gives no address for its {row.file_size} bytes") from error
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


async def _chunks(response: aiohttp.ClientResponse, expected: int | None) -> AsyncIterator[bytes]:
    """The file. Raises ``_Failed`` at its end if it has not as many bytes as ``expected`` (None: any)."""
    size = 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        yield chunk
    if expected is not None and size != expected:
        raise _Failed(f"{size} bytes came, and the form names {expected}")
