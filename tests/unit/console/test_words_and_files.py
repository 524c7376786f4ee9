"""Words in both languages, none missing and none left over; static files are those that we know."""

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

from dingbridge.console.render import LANGUAGES, load_words
from dingbridge.console.server import HTMX

CONSOLE = Path(str(files("dingbridge.console")))
HTMX_SHA256 = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
"""Of ``dist/htmx.min.js`` in the npm package htmx.org 4.0.1."""
JAVASCRIPT_LINES = 200

_KEY = re.compile(r"""["']([a-z_]+\.[a-z0-9_]*)["'](\s*~)?|f["']([a-z_]+\.[a-z0-9_]*)\{""")


def texts() -> dict[Path, str]:
    paths = [*CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.html")]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def test_each_key_exists_in_both_languages_and_none_is_unused() -> None:
    words = load_words()
    pages = {key.partition(".")[0] for key in words}
    used: set[str] = set()
    for path, text in texts().items():
        for key, dynamic, formatted in _KEY.findall(text):
            name = key or formatted
            if name.partition(".")[0] not in pages or name.endswith((".py", ".html", ".toml", ".db")):
                continue
            found = {known for known in words if known.startswith(name)} if dynamic or formatted else {name}
            assert found, f"{path.name}: nothing begins with {name}"
            assert found <= words.keys(), f"{path.name} uses {name}, which no file of words has"
            used |= found
    titles = {key for key in words if key.endswith(".title")}
    assert words.keys() - used - titles == set()
    assert {key for key, found in words.items() if set(found) != set(LANGUAGES)} == set()
    empty = {key for key, found in words.items() if not all(text.strip() for text in found.values())}
    assert empty == set()


def test_both_languages_take_the_same_values() -> None:
    def holes(text: str) -> set[str]:
        return set(re.findall(r"\{(\w+)", text))

    assert [key for key, found in load_words().items() if holes(found["en"]) != holes(found["zh"])] == []


def test_htmx_is_the_file_of_its_package_and_the_page_configures_it() -> None:
    content = (CONSOLE / "static" / HTMX).read_bytes()
    assert hashlib.sha256(content).hexdigest() == HTMX_SHA256
    base = (CONSOLE / "templates" / "base.html").read_text(encoding="utf-8")
    found = re.search(r"""name="htmx-config" content='([^']+)'""", base)
    assert found is not None
    config = json.loads(found[1])
    # no style of its own, which the policy would refuse, and no part of a page from an error
    assert config["includeIndicatorCSS"] is False
    assert {"4xx", "5xx"} <= set(config["noSwap"])


def test_our_own_script_is_short_and_the_pages_hold_no_script_style_or_foreign_address() -> None:
    assert (CONSOLE / "static" / "console.js").read_text(encoding="utf-8").count("\n") < JAVASCRIPT_LINES
    for path in CONSOLE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert (
            re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?![^>]*\bsrc=)|\bhx-on|javascript:", text) is None
        ), path
        assert re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", text) is None, path
        assert "|safe" not in text, path
        assert "autoescape" not in text, path
    for path in (CONSOLE / "static").glob("console.*"):
        assert "//" not in re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.M), path
