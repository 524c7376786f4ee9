"""How one consumer works, where its operator wants it otherwise than its author: ``BILLING_CONCURRENCY``.

What the numbers mean stands with the attributes of ``Consumer``, which they replace.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from dingbridge.settings.base import Settings


def _attempts(value: object) -> object:
    if value is None or value == "none" or ((text := str(value)).isdecimal() and int(text) >= 1):
        return value
    raise ValueError("must be 1 or more, or none")


class ConsumerLimits(Settings):
    """Of the consumer that the variables' prefix names; what is not set stays as its class has it."""

    concurrency: int | None = Field(None, ge=1, le=1024)
    """keys that one process works on at the same time; unset, as all of these: as the class has it, which
    `dingbridge consumers` shows"""
    max_attempts: Annotated[int | Literal["none"] | None, BeforeValidator(_attempts)] = None
    """attempts before a record goes to the dead letters; `none`: no end, its key waits"""
    retry_first_s: float | None = Field(None, gt=0, le=3600)
    """s before the second attempt; doubles with each further one"""
    retry_max_s: float | None = Field(None, gt=0, le=86_400)
    """the longest wait between two attempts, s"""
    handler_timeout_s: float | None = Field(None, gt=0, le=3600)
    """time limit for `prepare`, and again for the handler, s"""

    @classmethod
    def of(cls, consumer: str) -> Self:
        """Those of the consumer of this name. Raises ``SettingsError`` with all mistakes."""
        return cls.load(_env_prefix=f"{consumer.upper().replace('-', '_')}_")

    def apply(self, consumer: Any) -> None:
        """Set those that are set on ``consumer``, an instance of a consumer's class."""
        for name, value in self.model_dump(exclude_none=True).items():
            setattr(consumer, name, None if value == "none" else value)
