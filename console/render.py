"""Turns values into a page: templates, words in English and Chinese, numbers.

Templates escape whatever they are given.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from dingbridge.console.times import shown_time

LANGUAGES: Final = ("en", "zh")
COOKIE: Final = "lang"

Words = Mapping[str, Mapping[str, str]]
"""``{"now.title": {"en": …, "zh": …}}``"""


def load_words() -> dict[str, Mapping[str, str]]:
    """Of each file ``words/<page>.toml``, key ``<page>.<key>``."""
    found: dict[str, Mapping[str, str]] = {}
    for path in files("dingbridge.console").joinpath("words").iterdir():
        if path.name.endswith(".toml"):
            page = path.name.removesuffix(".toml")
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            found |= {f"{page}.{key}": words for key, words in table.items()}
    return found


class Translator:
    """``t("now.title")``: the words of one language; ``{name}`` in them is given by name."""

    def __init__(self, words: Words, language: str) -> None:
        self._words, self.language = words, language

    def __call__(self, key: str, **values: object) -> str:
        """Raises ``KeyError`` for a key that no file has."""
        text = self._words[key][self.language]
        return text.format_map(values) if values else text


def language_of(request: web.Request) -> str:
    """``?lang=``, else the cookie, else what the browser prefers, else English."""
    for wanted in (request.query.get("lang"), request.cookies.get(COOKIE)):
        if wanted in LANGUAGES:
            return wanted
    for part in request.headers.get("Accept-Language", "").split(","):
        if (name := part.split(";")[0].strip().lower()[:2]) in LANGUAGES:
            return name
    return "en"


def shown_number(value: float | None) -> str:
    """With commas; a whole number without, others with three digits that count."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def shown_seconds(value: float | None) -> str:
    """A length of time in the unit that fits: 850 ms, 12 s, 3 min, 5 h, 2 d."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


_CELL: Final = re.compile(r"<t[dh](?=[ >])")


def labelled(rows: str, heads: Sequence[str]) -> Markup:
    """``rows`` (``<tr>…</tr>``, of a template of ours), each cell with the head of its column: on a narrow
    screen a row is a card, and shows them."""

    def of_row(row: str) -> str:
        names = iter(heads)
        return _CELL.sub(lambda cell: f'{cell[0]} data-label="{escape(next(names, ""))}"', row)

    return Markup("</tr>".join(map(of_row, rows.split("</tr>"))))  # noqa: S704 - values are escaped already


@pass_context
def _time(context: Context, value: Any) -> Markup:
    return shown_time(value, context["zone"])


class Render:
    """Templates with the words of all pages."""

    def __init__(self) -> None:
        self.words = load_words()
        self._environment = Environment(
            loader=PackageLoader("dingbridge.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "time": _time,
            "number": shown_number,
            "seconds": shown_seconds,
            "labelled": labelled,
        }

    def translator(self, language: str) -> Translator:
        return Translator(self.words, language)

    def html(self, template: str, values: Mapping[str, Any]) -> str:
        """The text of a page. Raises ``UndefinedError`` where a template needs what it was not given."""
        return self._environment.get_template(template).render(values)
