"""Generated credentials follow the platform's rules, and files of secrets never take another's place."""

import base64
import os
import re

import pytest

from dingbridge.cli.callback.credentials import generate, write_new
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.errors import BridgeError, SettingsError


def test_they_are_of_the_length_and_alphabet_that_console_and_api_take():
    seen = set()
    for _ in range(200):
        made = generate()
        assert re.fullmatch(r"[A-Za-z0-9]{32}", made.token)
        assert re.fullmatch(r"[A-Za-z0-9]{43}", made.aes_key)
        # a strict decoder takes it too: no bits beyond the 32 bytes are set
        key = base64.b64decode(made.aes_key + "=", validate=True)
        assert base64.b64encode(key).decode() == made.aes_key + "="
        Credentials(made.token, made.aes_key, ("dingappkey",))
        assert made.token not in repr(made)
        seen |= {made.token, made.aes_key}
    assert len(seen) == 400


def test_they_are_written_into_new_files_that_others_cannot_read(tmp_path):
    files = [tmp_path / "new" / name for name in ("token", "key")]
    old = os.umask(0)
    try:
        assert write_new(named(*files)) == files
    finally:
        os.umask(old)
    token, aes_key = (file.read_text().strip() for file in files)
    Credentials(token, aes_key, ("dingappkey",))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]


def test_what_is_there_is_not_written_over_and_all_that_is_wrong_is_said(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError) as caught:
        write_new({"DINGTALK_AES_KEY_FILE": str(tmp_path / "link")})
    said = "\n".join(caught.value.problems)
    assert "DINGTALK_TOKEN_FILE: not set" in said
    assert "link exists already" in said
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BridgeError, match="cannot be written"):
        write_new(named(tmp_path / "file" / "token", tmp_path / "key"))


def named(token, aes_key):
    return {"DINGTALK_TOKEN_FILE": str(token), "DINGTALK_AES_KEY_FILE": str(aes_key)}
