"""Generated credentials follow the platform's rules, and files of secrets never take another's place."""

import base64
import os
import re

import pytest

from dingbridge.cli.callback.credentials import generate, places, write
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


def test_every_reason_against_writing_is_said_at_once(tmp_path):
    (tmp_path / "there").write_text("x")
    with pytest.raises(SettingsError) as caught:
        places({"DINGTALK_TOKEN": "set", "DINGTALK_AES_KEY_FILE": str(tmp_path / "there")})
    said = "\n".join(caught.value.problems)
    assert "DINGTALK_TOKEN: is set" in said
    assert "DINGTALK_TOKEN_FILE: not set" in said
    assert "there exists already" in said
    same = str(tmp_path / "same")
    with pytest.raises(SettingsError, match="the same file"):
        places({"DINGTALK_TOKEN_FILE": same, "DINGTALK_AES_KEY_FILE": same})


def test_a_link_that_leads_nowhere_counts_as_there(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="link exists already"):
        places(
            {"DINGTALK_TOKEN_FILE": str(tmp_path / "link"), "DINGTALK_AES_KEY_FILE": str(tmp_path / "key")}
        )


def test_both_files_or_neither(tmp_path):
    made = generate()
    old = os.umask(0)
    try:
        write(made, tmp_path / "new" / "token", tmp_path / "new" / "key")
    finally:
        os.umask(old)
    assert (tmp_path / "new" / "token").read_text() == made.token + "\n"
    assert [file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()] == [0o600, 0o600]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BridgeError, match="nothing was written") as caught:
        write(made, tmp_path / "token", tmp_path / "file" / "key")
    assert made.token not in str(caught.value)
    assert not (tmp_path / "token").exists()
