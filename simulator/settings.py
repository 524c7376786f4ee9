"""Settings of the simulator. Every one has a default that fits the local stack."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from dingbridge.settings import SAMPLE_CREDENTIALS, LogSettings
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.profile import Profile


class SimulatorSettings(LogSettings):
    """Each field is an environment variable by its upper-case name, and an option of ``dingbridge
    simulator run`` by its last part. ``dingtalk_app_key`` and ``_secret`` are what ``gettoken`` accepts;
    ``simulator_owner_key`` what pushes are encrypted for (the app key unless set, as for a subscription
    made in DingTalk's console). ``simulator_rate`` is events per second; ``simulator_retry_scale``
    multiplies DingTalk's delays of 10 s, 30 s and, in Stream mode, 60 s; ``simulator_duplicates`` is the
    share of pushes that are pushed a second time.
    """

    simulator_host: str = "127.0.0.1"
    """where it listens"""
    simulator_port: int = Field(8090, ge=0, le=65535)
    """port of everything: Open API, pushes, page"""
    simulator_seed: int = 1
    """the same seed, the same company"""
    simulator_users: int = Field(60, ge=0, le=2_000_000)
    """employees at the start"""
    simulator_departments: int = Field(12, ge=0, le=100_000)
    """departments at the start"""
    simulator_approvals: int = Field(0, ge=0, le=1_000_000)
    """approvals that were over before the start, of the year before"""
    simulator_mode: Literal["http", "stream"] = "http"
    """how events are pushed: `http`, to the registered URL, or `stream`, over open connections"""
    simulator_rate: float = Field(0, ge=0, le=100_000)
    """events a second by itself; 0: none"""
    simulator_script: Path | None = None
    """TOML file of what happens, in order"""
    simulator_generation: Literal["old", "new", "mixed"] = "mixed"
    """DingTalk's payloads: `old`, `new` or `mixed`"""
    simulator_retry_scale: float = Field(1, ge=0, le=1000)
    """multiplies DingTalk's delays of 10 s and 30 s, in Stream mode of 60 s"""
    simulator_duplicates: float = Field(0.02, ge=0, le=1)
    """share of pushes that are pushed a second time, 0 to 1"""
    simulator_profile: str = "reality"
    """what DingTalk may do: `reality` or `kind`, with single switches behind it, as `reality,late=0`"""
    simulator_owner_key: str | None = None
    """what pushes are encrypted for; unset: the app key, as for a subscription made in the console"""
    simulator_corp_id: str = Field(SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"], min_length=1, max_length=64)
    """the CorpId of the company"""
    dingtalk_app_key: str = Field(SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], min_length=1)
    dingtalk_app_secret: SecretStr = SecretStr(SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"])

    @property
    def owner_key(self) -> str:
        return self.simulator_owner_key or self.dingtalk_app_key

    def check(self) -> list[str]:
        problems = super().check()
        if not self.dingtalk_app_secret.get_secret_value():
            problems.append("DINGTALK_APP_SECRET: must not be empty")
        try:
            Profile.parse(self.simulator_profile)
        except ActionError as error:
            problems.append(f"SIMULATOR_PROFILE: {error}")
        return problems
