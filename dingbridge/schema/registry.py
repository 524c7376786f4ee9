"""Schemas for a registry with Confluent's API: draft-07, one subject for the values of each topic.

Responsible for the calls. Not responsible for what is registered (``json_schema``). Records name no schema of
the registry (they are plain JSON, without Confluent's five bytes in front): the registry is where people and
tools look a topic up.

Subjects are called as by Confluent's ``TopicNameStrategy``. A subject that is made here gets the
compatibility ``FORWARD``, which is this contract's own rule: the readers of one version read the next. An
existing subject keeps its own.

Source: "Schema Registry API Reference" of Confluent (subjects, config).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import aiohttp

from dingbridge.errors import BridgeError
from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.json_schema import document, record_schema

COMPATIBILITY: Final = "FORWARD"
_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_WITHIN: Final = aiohttp.ClientTimeout(total=30)
_NO_SUBJECT, _NO_SCHEMA = 40401, 40403

Outcome = Literal["new", "new version", "unchanged", "refused"]


class RegistryUnavailable(BridgeError):
    """The registry is not reached, refuses us, or answers what it should not; the message says the next
    step."""


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of one schema. ``words`` are the registry's where it is refused as incompatible."""

    subject: str
    outcome: Outcome
    words: str = ""


def subject_of(topic: str) -> str:
    return f"{topic}-value"


def schema_text(spec: EventSpec) -> str:
    """The schema of this type's records, as it is registered."""
    return json.dumps(document(record_schema(spec), "draft-07"), ensure_ascii=False)


class Registry:
    """The registry at ``url``, as ``https://registry.example.com/apis/ccompat/v7``: a context manager."""

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        self._url = url.rstrip("/")
        self._auth = aiohttp.BasicAuth(user, password, encoding="utf-8") if user else None

    async def __aenter__(self) -> "Registry":
        headers = {"User-Agent": "dingbridge", "Accept": _MEDIA_TYPE}
        self._session = aiohttp.ClientSession(auth=self._auth, timeout=_WITHIN, headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def publish(self, subject: str, schema: str) -> Published:
        """Register ``schema`` unless it is there. The same again changes nothing.

        Raises ``RegistryUnavailable``.
        """
        path, body = f"/subjects/{quote(subject, safe='')}", {"schemaType": "JSON", "schema": schema}
        status, found = await self._call("POST", path, body)
        if status == 200:
            return Published(subject, "unchanged")
        missing = found.get("error_code")
        if status != 404 or missing not in (_NO_SUBJECT, _NO_SCHEMA):
            raise self._refusal(status, found)
        if missing == _NO_SUBJECT:  # first, so that a subject never is there without it
            config = f"/config/{quote(subject, safe='')}"
            status, answer = await self._call("PUT", config, {"compatibility": COMPATIBILITY})
            if status != 200:
                raise self._refusal(status, answer)
        status, answer = await self._call("POST", f"{path}/versions", body)
        if status == 409:
            return Published(subject, "refused", str(answer.get("message", "")))
        if status != 200:
            raise self._refusal(status, answer)
        return Published(subject, "new" if missing == _NO_SUBJECT else "new version")

    async def _call(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer, ``{}`` if that is no JSON object."""
        try:
            async with self._session.request(
                method, self._url + path, data=json.dumps(body), headers={"Content-Type": _MEDIA_TYPE}
            ) as response:
                text = await response.text(errors="replace")
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RegistryUnavailable(
                f"the schema registry at {self._url} is not reached ({type(error).__name__}); "
                "check SCHEMA_REGISTRY_URL. What was published before is kept: run this again"
            ) from error
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        return status, found if isinstance(found, dict) else {}

    def _refusal(self, status: int, answer: Mapping[str, Any]) -> RegistryUnavailable:
        if status in (401, 403):
            words = "check SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD, and what that user may do"
        elif "error_code" not in answer:
            words = "no registry with Confluent's API is there; check the path of SCHEMA_REGISTRY_URL"
        else:
            words = str(answer.get("message", ""))[:300]
        return RegistryUnavailable(f"the schema registry at {self._url} answers HTTP {status}: {words}")
