"""The private listeners of ingresses and consumers, asked side by side; a silent one has a ``problem``.

Nothing is kept between two questions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

T = TypeVar("T")

TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What listener ``name`` answered to one question: ``value``, or in a few plain words the ``problem``.
    ``status`` is HTTP's, None where there was no answer; a 503 of ``/readyz`` has a value."""

    name: str
    url: str
    value: T | None = None
    status: int | None = None
    problem: str | None = None


class Metrics:
    """The samples of ``/metrics``."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for sample in samples:
            self._samples.setdefault(sample.name, []).append(sample)

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Those of this name (``…_total``, ``…_bucket``) that have all these labels."""
        wanted = labels.items()
        return [sample for sample in self._samples.get(name, ()) if wanted <= sample.labels.items()]

    def sum(self, name: str, **labels: str) -> float | None:
        """The sum of their values; None where there is none of that name."""
        if name not in self._samples:
            return None
        return sum(sample.value for sample in self.samples(name, **labels))


class Listeners:
    """The listeners of ``CONSOLE_LISTENERS``."""

    def __init__(self, listeners: Sequence[tuple[str, str]], timeout_s: float = TIMEOUT_S) -> None:
        """``listeners`` are names and addresses; several may have one name."""
        self.listeners = tuple(listeners)
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def metrics(self, name: str | None = None) -> list[Answer[Metrics]]:
        """``/metrics`` of all, or of those of one name."""

        async def parsed(body: bytes) -> Metrics:
            return await asyncio.to_thread(_parsed, body)

        return await self._all("/metrics", name, parsed)

    async def json(self, path: str, name: str | None = None) -> list[Answer[Any]]:
        """What ``path`` answers as JSON: ``/readyz``, ``/in-flight``, ``/owners`` …"""

        async def loaded(body: bytes) -> Any:
            return orjson.loads(body)

        return await self._all(path, name, loaded)

    async def _all(
        self, path: str, name: str | None, parse: Callable[[bytes], Awaitable[T]]
    ) -> list[Answer[T]]:
        asked = [listener for listener in self.listeners if name in (None, listener[0])]
        return await asyncio.gather(*(self._one(*listener, path, parse) for listener in asked))

    async def _one(self, name: str, url: str, path: str, parse: Callable[[bytes], Awaitable[T]]) -> Answer[T]:
        assert self._session is not None, "started first"  # noqa: S101
        status = None
        try:
            async with self._session.get(url + path, allow_redirects=False) as response:
                status = response.status
                body = await response.read()
            if status not in (200, 503):
                return Answer(name, url, None, status, f"answers {status} to {path}")
            return Answer(name, url, await parse(body), status)
        except TimeoutError:
            problem = f"does not answer within {self._timeout_s:g} s"
        except aiohttp.ClientConnectorError:
            problem = "cannot be reached"
        except (aiohttp.ClientError, OSError) as error:
            problem = f"does not answer ({type(error).__name__})"
        except ValueError:
            problem = f"answers to {path} what cannot be read"
        return Answer(name, url, None, status, problem)


def _parsed(body: bytes) -> Metrics:
    families = text_string_to_metric_families(body.decode("utf-8"))
    return Metrics([sample for family in families for sample in family.samples])
