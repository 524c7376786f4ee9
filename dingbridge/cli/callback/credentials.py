"""New credentials of a callback: made by DingTalk's rules, written where the settings will look for them."""

import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.files import new_file

TOKEN_CHARACTERS: Final = 32
"""DingTalk's console takes 3 to 32 letters and digits, register_call_back 6 to 63 characters."""
AES_KEY_CHARACTERS: Final = 43
_ALPHABET: Final = string.ascii_letters + string.digits
_LAST: Final = "AEIMQUYcgkosw048"
"""Letters and digits whose base64 value ends in two zero bits: 43 characters hold 258 bits, a key 256, and a
strict decoder refuses bits that are set beyond."""


class Generated(NamedTuple):
    """A token and an EncodingAESKey."""

    token: str
    aes_key: str

    def __repr__(self) -> str:
        return "Generated(…)"


def generate() -> Generated:
    """Unpredictable, and of the characters and lengths that console and API both take."""

    def some(count: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(count))

    return Generated(some(TOKEN_CHARACTERS), some(AES_KEY_CHARACTERS - 1) + secrets.choice(_LAST))


def write_new(environment: Mapping[str, str]) -> list[Path]:
    """Generate a token and an AES key into the files that ``DINGTALK_TOKEN_FILE`` and
    ``DINGTALK_AES_KEY_FILE`` name. Raises ``SettingsError`` where one is not set, or its file is there."""
    named = {name: environment.get(name, "") for name in ("DINGTALK_TOKEN_FILE", "DINGTALK_AES_KEY_FILE")}
    problems = [
        f"{variable}: {f'{file} exists already' if file else 'not set'}; name a new file"
        for variable, file in named.items()
        if not file or os.path.lexists(file)
    ]
    if problems:
        raise SettingsError(problems)
    paths = [Path(file) for file in named.values()]
    for path, secret in zip(paths, generate(), strict=True):
        write_secret(path, secret)
    return paths


def write_secret(path: Path, secret: str) -> None:
    """A new file, mode 0600. Raises ``BridgeError``, also when there is one already."""
    try:
        new_file(path, secret.encode() + b"\n")
    except OSError as error:
        raise BridgeError(f"{path} cannot be written ({error.strerror or type(error).__name__})") from None
