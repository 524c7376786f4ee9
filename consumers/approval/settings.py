"""The settings that only this consumer has."""

from pathlib import Path

from pydantic import Field

from dingbridge.settings import ConsumerSettings, Settings
from dingbridge.settings.apps import load_apps


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

    def company_of(self, settings: ConsumerSettings, app: str) -> str | None:
        """The corpId of the company of this app, where the settings have it. Raises ``SettingsError`` for an
        apps file that cannot be read."""
        if settings.dingtalk_apps_file is None:
            return self.dingtalk_corp_id
        found = load_apps(settings).get(app)
        if found is not None and found.corp_id:
            return found.corp_id
        return self.dingtalk_corp_id if app == settings.dingtalk_app_name else None
