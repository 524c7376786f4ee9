"""The settings that only this consumer has."""

import re

from pydantic import Field, field_validator

from dingbridge.settings import Settings

LEAST_LEAVERS = 10
"""Of people whom a share of the company allows to be marked, at least."""


class AddressSyncSettings(Settings):
    """What address-sync needs beside the settings of every consumer."""

    reconcile_every_days: float = Field(7, ge=0, le=365)
    """days between two full syncs; 0: none but the first"""
    max_leavers: str = "5%"
    """how many people without a leave event may be marked as left in 24 hours: a share of the employees (at
    least 10), or a number"""
    resync_calls_per_s: float = Field(10, gt=0, le=10_000)
    """reads a second of full syncs, in each process; DingTalk allows an app 20 of each API"""
    leavers_retention_days: float | None = Field(None, ge=1, le=36_500)
    """days after which the row of somebody who left is deleted; unset: it stays"""

    @field_validator("max_leavers")
    @classmethod
    def _leavers(cls, value: str) -> str:
        found = re.fullmatch(r"(\d{1,7})\s*(%?)", value.strip())
        if not found or (found[2] and int(found[1]) > 100):
            raise ValueError("must be a share of the employees, as 5%, or a number of people, as 25")
        return found[1] + found[2]

    def leavers_allowed(self, employees: int) -> int:
        """How many of ``employees`` may be marked as left within 24 hours without a leave event or a word."""
        if self.max_leavers.endswith("%"):
            return max(LEAST_LEAVERS, employees * int(self.max_leavers[:-1]) // 100)
        return int(self.max_leavers)
