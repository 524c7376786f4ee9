"""The profile: what DingTalk may do and no page promises, each a switch. ``reality``, the default, has it
on, modestly; ``kind`` has it off. What is captured of all is no switch: it is always so.

==============  ======================================================================================
late            share of people, departments and approvals of which reads lag behind every change, of
                whoever's: for ``late_ms`` at most they show the state before. No page promises more, no lag
                has been measured (UNVERIFIED)
late_ms         the longest such lag, in ms
refused         share of people and departments that listings name and single reads refuse, 50002 and 50004
                (captured: of two people of one company one was refused)
family_school   the root lists a department of id -1, the family-school contacts, that no read knows
                (ohdarling/virtual-ldap#19)
new_token       a permission that is granted is seen by access tokens that are issued after it only
                (cryozerolabs/n8n-nodes-dingtalk v0.3.4)
same_token      a token that is asked for within 7200 s is the same one (obtain-orgapp-token); false: a new
                one each time. With ``new_token`` the former means that a grant is seen after 7200 s at last
==============  ======================================================================================
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from typing import Any, Final

from dingbridge.simulator.errors import ActionError

_REALITY: Final[Mapping[str, Any]] = {"late": 0.1, "refused": 0.02, "family_school": True, "new_token": True}
_LATE_MS_MOST: Final = 600_000


@dataclass(slots=True)
class Profile:
    """The switches, as the table above has them. They may be set at any time."""

    late: float = 0.0
    late_ms: int = 4_000
    refused: float = 0.0
    family_school: bool = False
    new_token: bool = False
    same_token: bool = True

    @classmethod
    def parse(cls, text: str) -> "Profile":
        """A profile by its name, and switches that it shall have otherwise: ``reality,late=0.5,refused=0``.
        Raises ``ActionError``."""
        profile, (name, *others) = cls(), text.split(",")
        wanted: dict[str, Any] = {"profile": name.strip()}
        for other in others:
            switch, _, value = (part.strip() for part in other.partition("="))
            wanted[switch] = _value(value)
        profile.set(**wanted)
        return profile

    def set(self, **wanted: Any) -> None:
        """Switches by name; with ``profile``, the others as ``kind`` or ``reality`` has them. Raises
        ``ActionError``, and nothing has changed."""
        name = wanted.pop("profile", None)
        if name not in (None, "kind", "reality"):
            raise ActionError(f'there is no profile {name}; there are "kind" and "reality"')
        known = {switch.name: switch.default for switch in fields(self)}
        for switch, value in wanted.items():
            if switch not in known:
                raise ActionError(f"a profile has no {switch}; it has {', '.join(known)}")
            if isinstance(known[switch], bool):
                if not isinstance(value, bool):
                    raise ActionError(f'"{switch}" must be true or false')
                continue
            most = _LATE_MS_MOST if switch == "late_ms" else 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ActionError(f'"{switch}" must be a number, 0 to {most}')
        if name is not None:
            wanted = {**known, **(_REALITY if name == "reality" else {}), **wanted}
        for switch, value in wanted.items():
            setattr(self, switch, value)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def lot(*what: object) -> float:
    """0 up to 1, always the same for the same texts and numbers: who is one of a share."""
    digest = blake2b(repr(what).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
