"""New credentials of a callback: made by DingTalk's rules, written where the settings will look for them."""

import os
import secrets
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from dingbridge.apps.model import AppCredentials
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.files import new_file


def generate() -> AppCredentials:
    """Unpredictable, and of the characters and lengths that console and API both take: a token of 32 letters
    and digits (the console takes 3 to 32, register_call_back 6 to 63), an EncodingAESKey of 43."""
    aes_key = ""
    while not aes_key.isalnum():  # until it holds neither + nor /, which an EncodingAESKey may not
        aes_key = b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return AppCredentials(secrets.token_hex(16), aes_key)


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
    made = generate()
    token, aes_key = (Path(file) for file in named.values())
    write_secret(token, made.token)
    write_secret(aes_key, made.aes_key)
    return [token, aes_key]


def write_secret(path: Path, secret: str) -> None:
    """A new file, mode 0600. Raises ``BridgeError``, also when there is one already."""
    try:
        new_file(path, secret.encode() + b"\n")
    except OSError as error:
        raise BridgeError(f"{path} cannot be written ({error.strerror or type(error).__name__})") from None
