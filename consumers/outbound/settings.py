"""The settings that only this consumer has."""

from pathlib import Path

from pydantic import Field

from dingbridge.settings import Settings

DAY_MS = 86_400_000


class OutboundSettings(Settings):
    """What outbound needs beside the settings of every consumer."""

    outbound_owners: Path | None = None
    """TOML file with the owner of each field, and in whose names approvals may be started;
    unset: mobile is DingTalk's, everything else the OA's, and approvals in nobody's name"""
    outbound_settle_s: float = Field(60, ge=1, le=3600)
    """how long a read may still show the state before our own write, in s"""
    outbound_max_removals: int = Field(20, ge=0)
    """people and departments removed in 24 h at most; more wait for `dingbridge outbound approve`"""
    outbound_max_updates: int = Field(500, ge=0)
    """people and departments changed in 24 h at most; more wait for `dingbridge outbound approve`"""
    outbound_max_approvals: int = Field(100, ge=0)
    """approvals started in people's names in 24 h at most; more wait"""
    outbound_grace_days: float = Field(7, ge=0, le=365)
    """days between *absent* and the removal; the OA may change its mind meanwhile"""
