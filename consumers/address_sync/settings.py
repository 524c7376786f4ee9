"""The settings that only this consumer has."""

import re

from pydantic import Field, field_validator

from dingbridge.consumers.address_sync.mapping import USER_COLUMNS, Fields
from dingbridge.consumers.address_sync.tables import users
from dingbridge.mirror.chosen import ROOT
from dingbridge.mirror.leavers import share_of
from dingbridge.settings import CommaList, IntegerList, Settings

_TAKEN = frozenset(users.c.keys())


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

    departments_include: IntegerList = Field(default_factory=list)
    """ids of departments that address-sync keeps, each with those below it; empty: the whole company"""
    departments_exclude: IntegerList = Field(default_factory=list)
    """ids of departments that address-sync leaves out, each with those below it; where departments of both
    lists are above one, the nearest decides"""
    user_fields: CommaList = Field(default_factory=list)
    """the columns of `users` that address-sync fills, beside its own and `unionid`; empty: all"""
    extension_columns: CommaList = Field(default_factory=list)
    """keys of DingTalk's `extension` that have a text column of `users`, as `工号2=badge`"""

    @field_validator("user_fields")
    @classmethod
    def _fields(cls, value: list[str]) -> list[str]:
        if unknown := [one for one in value if one not in USER_COLUMNS]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(USER_COLUMNS)}")
        return value

    @field_validator("extension_columns")
    @classmethod
    def _columns(cls, value: list[str]) -> list[str]:
        columns = [one.rpartition("=")[2].strip() for one in value]
        for one, column in zip(value, columns, strict=True):
            if not re.fullmatch(r".+=\s*[a-z][a-z0-9_]{0,62}", one) or columns.count(column) > 1:
                raise ValueError("must be key=column: a-z, 0-9 and _, each column once; as 工号2=badge")
            if column in _TAKEN:
                raise ValueError(f"users has a column {column}; choose another name")
        return value

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
            return share_of(employees, int(self.max_leavers[:-1]))
        return int(self.max_leavers)

    def fields(self) -> Fields:
        """What of a person is stored."""
        pairs = (one.rpartition("=") for one in self.extension_columns)
        return Fields(frozenset(self.user_fields), {key.strip(): column.strip() for key, _, column in pairs})

    def check(self) -> list[str]:
        problems = super().check()
        excluded = set(self.departments_exclude)
        if both := excluded & set(self.departments_include):
            problems.append(f"DEPARTMENTS_INCLUDE and DEPARTMENTS_EXCLUDE both name {min(both)}")
        if ROOT in excluded and not self.departments_include:
            problems.append(
                "DEPARTMENTS_EXCLUDE: 1 is the whole company; name others, or DEPARTMENTS_INCLUDE as well"
            )
        return problems
