"""Somebody who reads pages and submits their forms, without JavaScript."""

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin


@dataclass
class Form:
    """A form of a page: what it would send, and its buttons."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
        elif tag == "button" and self.forms:
            self.forms[-1].buttons.append((given.get("name", ""), given.get("value", "")))
        elif tag == "input" and self.forms and given.get("name") and _is_sent(given):
            self.forms[-1].fields.append((given["name"], given.get("value", "")))


def _is_sent(attributes: Mapping[str, str]) -> bool:
    return attributes.get("type") not in ("checkbox", "radio") or "checked" in attributes


class Visitor:
    """One person's visit to the site at ``address``; ``page`` is the text of the page that is open."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.page = ""
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def go(self, path: str, form: Mapping[str, str] | None = None) -> str:
        """The page at ``path``, or what it answers to ``form``. Raises ``HTTPError``."""
        data = None if form is None else urlencode(form).encode()
        with self._open.open(urljoin(self.address, path), data, timeout=120) as answer:
            self.page = answer.read().decode()
        return self.page

    def submit(self, action: str, **values: str) -> str:
        """Submits the form of the open page that leads to ``action``, with ``values`` chosen in it."""
        parser = _Forms()
        parser.feed(self.page)
        [form] = [form for form in parser.forms if form.action == action]
        sent = dict(form.fields) | values
        assert all((name, value) in form.buttons for name, value in values.items() if name == "act"), form
        return self.go(action, sent) if form.method == "post" else self.go(f"{action}?{urlencode(sent)}")
