"""The settings that only this consumer has."""

from pathlib import Path

from pydantic import Field

from dingbridge.settings import Settings


class ApprovalSettings(Settings):
    """``APPROVAL_ACTIONS``: the module with the actions, by dotted name, or the path of a ``.py`` file.
    ``ARCHIVE_DIR``: where attachments are kept; without it none is downloaded. ``ARCHIVE_MAX_BYTES``: the
    largest attachment, in bytes. ``DINGTALK_CORP_ID``: the company's id, which the Open API does not tell; a
    backfill needs it where the archive is empty.
    """

    approval_actions: str = "consumers.approval.examples"
    archive_dir: Path | None = None
    dingtalk_corp_id: str | None = None
    archive_max_bytes: int = Field(512 * 1024 * 1024, ge=1)
