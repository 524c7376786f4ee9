"""New credentials of a callback: made by DingTalk's rules, written where the settings will look for them.

Responsible for the generating and for files of mode 0600 that never take another one's place.
"""

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

TOKEN_FILE: Final = "DINGTALK_TOKEN_FILE"  # noqa: S105 - a setting's name
AES_KEY_FILE: Final = "DINGTALK_AES_KEY_FILE"


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


def places(environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Where token and AES key are to be written. Raises ``SettingsError`` with every reason against it."""
    problems = []
    for variable in (TOKEN_FILE, AES_KEY_FILE):
        name = variable.removesuffix("_FILE")
        if environment.get(name):
            problems.append(
                f"{name}: is set, so nothing is to be generated; unset it, or leave --generate out"
            )
        path = environment.get(variable)
        if not path:
            problems.append(
                f"{variable}: not set; it names the file that --generate writes, and from which the ingress "
                "reads it"
            )
        elif os.path.lexists(path):
            problems.append(
                f"{variable}: {path} exists already; leave --generate out to use it, or name another file"
            )
    if environment.get(TOKEN_FILE) and environment.get(TOKEN_FILE) == environment.get(AES_KEY_FILE):
        problems.append(f"{AES_KEY_FILE}: is the same file as {TOKEN_FILE}")
    if problems:
        raise SettingsError(problems)
    return Path(environment[TOKEN_FILE]), Path(environment[AES_KEY_FILE])


def write(generated: Generated, token_file: Path, aes_key_file: Path) -> None:
    """Both files, or neither. Raises ``BridgeError`` with the reason."""
    written: list[Path] = []
    failed: tuple[Path, str] | None = None
    for path, secret in ((token_file, generated.token), (aes_key_file, generated.aes_key)):
        try:
            write_secret(path, secret)
        except OSError as error:
            failed = (path, error.strerror or type(error).__name__)
            break
        written.append(path)
    if failed is None:
        return
    for path in written:
        path.unlink(missing_ok=True)
    raise BridgeError(f"{failed[0]} cannot be written ({failed[1]}); nothing was written")


def write_secret(path: Path, secret: str) -> None:
    """A new file, mode 0600. Raises ``OSError``, also when there is one already."""
    new_file(path, secret.encode() + b"\n")
