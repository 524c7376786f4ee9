"""The settings that only this consumer has."""

from ipaddress import ip_network
from pathlib import Path

from pydantic import Field

from dingbridge.settings import NetworkList, Settings
from dingbridge.ssrf import Network


class ApprovalSettings(Settings):
    """What approval needs beside the settings of every consumer."""

    approval_actions: str = "dingbridge.consumers.approval.examples"
    """the module of actions: dotted name, or path of a `.py` file"""
    archive_dir: Path | None = None
    """where attachments are kept; unset: none is downloaded, and their rows wait"""
    archive_max_bytes: int = Field(512 * 1024 * 1024, ge=1)
    """the largest attachment that is downloaded, in bytes"""
    archive_allow_networks: NetworkList = Field(default_factory=list)
    """networks inside that attachments are fetched from, also by http, comma separated: a dedicated
    storage's, or the simulator's"""

    @property
    def allowed(self) -> list[Network]:
        return [ip_network(item) for item in self.archive_allow_networks]
