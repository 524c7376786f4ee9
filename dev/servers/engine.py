"""A Docker engine, if one answers: images with a bound on pulling them, containers that are always removed.

Containers are described with testcontainers. Its own reaper is switched off, because that is one more image
to pull; ``guard.py`` removes a container whose starter died. The modules beside it start the servers in them.
"""

import os
import queue
import secrets
import subprocess
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.simulator.kafka.processes import GUARD
from dingbridge.simulator.kafka.progress import Progress, megabytes

ANSWER_WITHIN_S = 10
PULL_SILENCE_S = 30.0
"""A pull without any news for this long, in s, is given up: the registry is not reached."""


class EngineUnavailable(ServerStartError):
    """Docker cannot be used here; the message is the reason, in a phrase."""


class Engine:
    """A connection to a Docker engine that answers."""

    def __init__(self) -> None:
        """Raises ``EngineUnavailable`` when there is no engine, or no client library to reach it."""
        try:
            import docker
            from docker.errors import DockerException
            from testcontainers.core.config import testcontainers_config
            from testcontainers.core.docker_client import get_docker_host
        except ImportError:
            raise EngineUnavailable("testcontainers is not installed") from None
        if host := get_docker_host():  # also knows of `docker context use`
            os.environ["DOCKER_HOST"] = host
        testcontainers_config.ryuk_disabled = True
        try:
            self.client = docker.from_env(timeout=ANSWER_WITHIN_S)
            self.client.ping()
        except (DockerException, OSError):
            raise EngineUnavailable("no Docker engine answers") from None
        self.host = testcontainers_config.tc_host_override or _host_of(host)

    def provide(self, image: str, progress: Progress) -> None:
        """Makes sure that ``image`` is there. Raises ``EngineUnavailable`` if it cannot be pulled."""
        from docker.errors import DockerException, ImageNotFound

        try:
            self.client.images.get(image)
            return
        except ImageNotFound:
            progress.line(f"Docker: pulling {image}, once")
        except (DockerException, OSError) as error:
            raise EngineUnavailable(f"Docker fails ({type(error).__name__})") from None
        news: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()

        def pull() -> None:
            try:
                repository, _, tag = image.rpartition(":")
                for item in self.client.api.pull(repository, tag=tag, stream=True, decode=True):
                    news.put(item)
                news.put(None)
            except (DockerException, OSError) as error:
                news.put(error)

        threading.Thread(target=pull, daemon=True).start()
        self._follow(image, news, progress)

    def _follow(
        self, image: str, news: "queue.Queue[dict[str, Any] | Exception | None]", progress: Progress
    ) -> None:
        layers: dict[str, tuple[int, int]] = {}
        while True:
            try:
                item = news.get(timeout=PULL_SILENCE_S)
            except queue.Empty:
                raise EngineUnavailable(f"{image} is not here and its registry does not answer") from None
            if item is None:
                progress.line(f"Docker: {image} is here, {megabytes(sum(t for _, t in layers.values()))}")
                return
            if isinstance(item, Exception) or "error" in item:
                raise EngineUnavailable(f"{image} is not here and cannot be pulled")
            detail = item.get("progressDetail") or {}
            if item.get("status") == "Downloading" and "total" in detail:
                layers[item.get("id", "")] = (detail.get("current", 0), detail["total"])
            got, total = (sum(pair[i] for pair in layers.values()) for i in (0, 1))
            progress.update(f"Docker: {image}: {megabytes(got)} of {megabytes(total)}")


class Container:
    """One container with one port published on a port of ours, which it keeps when it is restarted."""

    def __init__(self, engine: Engine, container: Any, *, label: str, inner_port: int) -> None:
        """``container`` is a testcontainers container that was not started; its ports are set here."""
        self.engine = engine
        self.port = free_port()
        self.name = f"dingbridge-{label}-{secrets.token_hex(4)}"
        local = self.engine.host in ("127.0.0.1", "localhost")
        container.ports = {f"{inner_port}/tcp": ("127.0.0.1" if local else "0.0.0.0", self.port)}  # noqa: S104
        self._container = container.with_name(self.name)
        self._reaper: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.engine.host}:{self.port}"

    def start(self) -> None:
        """Raises ``EngineUnavailable``."""
        from docker.errors import DockerException

        self._reaper = subprocess.Popen(  # before there is anything to reap
            [sys.executable, "-I", str(GUARD), "container", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._container.start()
        except (DockerException, OSError, TimeoutError) as error:
            self.remove()
            raise EngineUnavailable(
                f"Docker cannot start {self._container.image} ({type(error).__name__})"
            ) from error

    @property
    def handle(self) -> Any:
        """docker-py's container object: ``kill``, ``pause``, ``unpause``, ``stop``, ``start``."""
        return self._container.get_wrapped_container()

    @property
    def running(self) -> bool:
        self.handle.reload()
        return bool(self.handle.status == "running")

    @property
    def paused(self) -> bool:
        self.handle.reload()
        return bool(self.handle.status == "paused")

    def log_tail(self, lines: int) -> str:
        text: str = self.handle.logs(tail=lines).decode("utf-8", "replace")
        return text

    def remove(self) -> None:
        """Removes it with its volumes. Fine to call twice."""
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()  # its end makes the reaper remove the container
            self._reaper.wait()
            self._reaper = None

    def keep(self) -> str:
        """Lets it outlive this process; returns the command that removes it."""
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(b"k")
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        return f"docker rm --force --volumes {self.name}"


def _host_of(docker_host: str | None) -> str:
    """Where published ports answer: on the engine's own machine, else on this one."""
    parts = urlsplit(docker_host or "")
    if parts.scheme in ("tcp", "http", "https", "ssh") and parts.hostname:
        return parts.hostname
    return "127.0.0.1"
