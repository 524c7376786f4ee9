"""Reading ``DINGTALK_APPS_FILE``: whole or not at all, and every mistake at once.

It is TOML, a table for each app; each secret stands there, or in a file that ``<key>_file`` names, relative
to this one::

    [apps.hr]
    token_file = "hr.token"
    aes_key_file = "hr.aes-key"
    owner_keys = ["dingabc", "dingcorp2"]
    app_key = "dingabc"
    app_secret_file = "hr.app-secret"
    corp_id = "dingcorp2"

    [[apps.hr.previous]]              # still accepted, until then; `dingbridge callback rotate` writes these
    token_file = "hr.token.old"
    aes_key_file = "hr.aes-key.old"
    until = 2026-11-26T08:00:00Z

    [apps.sales]
    mode = "stream"                   # needs app_key and app_secret only; "http" unless it stands here
    app_key = "dingsales"
    app_secret_file = "sales.app-secret"
    corp_id = "dingcorp2"
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from dingbridge.apps.model import (
    AES_KEY,
    CORP_ID,
    CORP_ID_MISSING,
    NAME,
    OWNER,
    SAMPLE_CREDENTIALS,
    TOKEN,
    VARIABLE,
    App,
    AppCredentials,
    Form,
    Mode,
)

_SECRETS: Final = ("token", "aes_key", "app_secret")
_WORDS: Final = {
    "missing": "not set",
    "too_short": "not set",
    "extra_forbidden": "is no setting of an app; docs/guide/several-apps.md has an example",
    "string_type": "is no text",
    "bool_type": "is true or false",
    "list_type": "begins with [[apps.<name>.previous]]",
    "model_type": "is no table; it begins with [apps.<name>]",
    "literal_error": "is http or stream",
    "datetime_type": "is a time with its zone, as 2026-11-26T08:00:00Z",
    "timezone_aware": "is a time with its zone, as 2026-11-26T08:00:00Z",
}
"""Our words for pydantic's types of errors, which repeat no value: it may be a secret."""


class _Context(NamedTuple):
    """Where files of secrets are looked for, and whether the public sample values are mistakes."""

    folder: Path
    live: bool


class _Mistake(str):
    """Stands in the place of a value that is missing or cannot be read, and says why."""


def _context(info: ValidationInfo) -> _Context:
    context = info.context
    assert isinstance(context, _Context)  # noqa: S101 - read_apps gives it
    return context


def _there(value: object) -> object:
    if isinstance(value, _Mistake):
        raise ValueError(str(value))
    return value


def _sample(value: object, info: ValidationInfo) -> object:
    if _context(info).live and value in SAMPLE_CREDENTIALS.values():
        raise ValueError("is the public sample value of the local stack")
    return value


def _of(form: Form) -> AfterValidator:
    def check(value: str) -> str:
        if problem := form.problem(value):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _one_or_several(value: object) -> object:
    return [value] if isinstance(_there(value), str) else value


_Given = Annotated[str, Field(min_length=1), BeforeValidator(_there)]
_Secret = Annotated[_Given, AfterValidator(_sample)]
_Token = Annotated[_Secret, _of(TOKEN)]
_AesKey = Annotated[_Secret, _of(AES_KEY)]
_Owner = Annotated[_Given, _of(OWNER)]
_CorpId = Annotated[_Given, _of(CORP_ID)]
_Name = Annotated[str, _of(NAME)]
_Owners = Annotated[list[_Owner], Field(min_length=1), BeforeValidator(_one_or_several)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class _WithFiles(_Strict):
    """Each secret stands there, or in a file that ``<key>_file`` names."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, table: Any, info: ValidationInfo) -> Any:
        if not isinstance(table, dict):
            return table
        found = dict(table)
        for name in _SECRETS:
            if (file := found.pop(f"{name}_file", None)) is None:
                continue
            twice = f"stands twice, as {name} and as {name}_file"
            found[name] = _Mistake(twice) if name in found else _content(_context(info).folder, file)
        for name in cls.needs(found):
            or_file = f" (or {name}_file)" if name in _SECRETS else ""
            words = CORP_ID_MISSING if name == "corp_id" else f"not set{or_file}"
            found.setdefault(name, _Mistake(words))
        return found

    @classmethod
    def needs(cls, table: Mapping[str, Any]) -> tuple[str, ...]:
        """The settings that ``table`` must have."""
        return "token", "aes_key"


class _Pair(_WithFiles):
    token: _Token
    aes_key: _AesKey

    def credentials(self) -> AppCredentials:
        return AppCredentials(self.token, self.aes_key)


class _Previous(_Pair):
    until: AwareDatetime

    def credentials(self) -> AppCredentials:
        return AppCredentials(self.token, self.aes_key, self.until.astimezone(UTC))


class _App(_WithFiles):
    """In Stream mode what callbacks by HTTP need may stay in the table, for the way back; it is not used."""

    mode: Mode = "http"
    token: _Token | None = None
    aes_key: _AesKey | None = None
    owner_keys: _Owners = Field(default_factory=list)
    app_key: _Owner | None = None
    app_secret: _Secret | None = None
    corp_id: _CorpId | None = None
    suite: bool = False
    next: _Pair | None = None
    previous: list[_Previous] = Field(default_factory=list)

    @classmethod
    def needs(cls, table: Mapping[str, Any]) -> tuple[str, ...]:
        company = () if table.get("suite") is True else ("corp_id",)
        if table.get("mode") == "stream":
            return "app_key", "app_secret", *company
        return "token", "aes_key", "owner_keys", *company

    @model_validator(mode="after")
    def _key_with_secret(self) -> Self:
        if (self.app_key is None) != (self.app_secret is None):
            raise ValueError("app_key and app_secret belong together; one of them is missing")
        return self

    def app(self, name: str) -> App:
        pairs: list[AppCredentials] = []
        if self.mode == "http" and self.token and self.aes_key:
            others = [*([self.next] if self.next else []), *self.previous]
            pairs = [AppCredentials(self.token, self.aes_key), *(pair.credentials() for pair in others)]
        return App(
            name,
            tuple(pairs),
            tuple(self.owner_keys),
            self.app_key,
            self.app_secret,
            self.corp_id,
            self.suite,
            self.mode,
        )


class _File(_Strict):
    apps: Annotated[dict[_Name, _App], Field(min_length=1)]


def read_apps(path: Path, *, live: bool = False) -> tuple[dict[str, App], list[str]]:
    """The apps of the file; or none, and every mistake in it. ``live``: the API is DingTalk's own, so that
    the public sample values are mistakes too."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        found = _File.model_validate(document, context=_Context(path.parent, live))
    except OSError as error:
        return {}, [f"{VARIABLE}: {path} cannot be read ({error.strerror or type(error).__name__})"]
    except UnicodeDecodeError:
        return {}, [f"{VARIABLE}: {path} is not UTF-8 text"]
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{VARIABLE}: {path} is no TOML ({_place(error)})"]
    except RecursionError:
        return {}, [f"{VARIABLE}: {path} is no TOML (nested too deep)"]
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        return {}, [f"{VARIABLE}: {_words(mistake, path)}" for mistake in mistakes]
    return {name: app.app(name) for name, app in found.apps.items()}, []


def _words(mistake: ErrorDetails, path: Path) -> str:
    place = [str(part) for part in mistake["loc"] if part != "[key]"]
    words = _WORDS.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
    if place == ["apps"]:
        return f"{path} names no app; one begins with [apps.<name>]"
    if len(place) == 1:
        words = "is no setting; apps are [apps.<name>]"
    return f"{'.'.join(place)}: {words}"


def _content(folder: Path, file: object) -> str:
    """What the file holds, without the newline at its end; why it cannot be read, as a ``_Mistake``."""
    try:
        return (folder / str(file)).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        other = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "no name of a file"
        reason = getattr(error, "strerror", None) or other
        return _Mistake(f"its file cannot be read ({reason})")


def _place(error: tomllib.TOMLDecodeError) -> str:
    """Where it stops being TOML, without the text there, which may be a secret."""
    found = re.search(r"line \d+, column \d+|end of document", str(error))
    return found[0] if found else "somewhere"
