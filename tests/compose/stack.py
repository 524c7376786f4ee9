"""One compose project of a test: brought up, asked, and taken down without a trace."""

import json
import os
import secrets
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dev.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
UP_WITHIN_S = 900
PORTS = (
    "KAFKA",
    "INGRESS",
    "ADMIN",
    "SIMULATOR",
    "POSTGRES",
    "EDGE",
    "CONSOLE",
    "PROMETHEUS",
    "GRAFANA",
)


class Stack:
    """``docker compose`` with a project name, ports and an image of its own, so that it meets no other."""

    def __init__(self, *, image: str, folder: Path = ROOT, env_file: Path | None = None) -> None:
        """``folder`` holds the compose files; ``env_file`` stands for ``.env``, which is left unread."""
        self.project = f"dingbridge-test-{secrets.token_hex(4)}"
        self.folder = folder
        self.image = image
        self.ports = {name: free_port() for name in PORTS}
        self._env_file = env_file or Path(os.devnull)
        self._env = {
            k: v for k, v in os.environ.items() if not k.startswith(("DINGTALK_", "KAFKA_", "COMPOSE_"))
        }
        self._env |= {f"{name}_HOST_PORT": str(port) for name, port in self.ports.items()}
        self._env |= {"DINGBRIDGE_IMAGE": image, "SIMULATOR_RATE": "3"}
        # each person hired must come to have a row
        self._env["SIMULATOR_PROFILE"] = "reality,refused=0"
        self._env.pop("DATABASE_URL", None)

    def compose(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> str:
        """Standard output of ``docker compose <arguments>``. Raises ``AssertionError`` with its errors."""
        command = ["docker", "compose", "--env-file", str(self._env_file), "-p", self.project, *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"docker compose {' '.join(arguments)} → {done.returncode}\n{done.stderr[-4000:]}"
            )
        return done.stdout

    def up(self, *arguments: str, profile: str = "") -> None:
        """Up, and healthy. Raises ``AssertionError`` with the end of all logs."""
        profiles = [f"--profile={profile}"] if profile else []
        try:
            self.compose(*profiles, "up", "--detach", "--wait", *arguments, timeout_s=UP_WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail=25', check=False)}") from error

    def down(self) -> None:
        self.compose("--profile=edge", "down", "--volumes", "--remove-orphans", "--rmi=local", "--timeout=15")

    def config(self) -> dict[str, Any]:
        """The compose file as compose understands it."""
        parsed: dict[str, Any] = json.loads(self.compose("config", "--format=json"))
        return parsed

    def containers(self) -> dict[str, dict[str, Any]]:
        """``docker inspect`` of every container, by service."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {c["Config"]["Labels"]["com.docker.compose.service"]: c for c in found}

    def leftovers(self) -> dict[str, str]:
        """What of this project is still there: containers, volumes, networks, and images with its name."""
        mine = f"--filter=label=com.docker.compose.project={self.project}"
        return {
            "containers": docker("ps", "--all", "--quiet", mine).strip(),
            "volumes": docker("volume", "ls", "--quiet", mine).strip(),
            "networks": docker("network", "ls", "--quiet", mine).strip(),
            "images": docker("image", "ls", "--quiet", f"{self.project}-*").strip(),
        }

    def simulator(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Asks the simulator's control surface, through its published port."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.ports['SIMULATOR']}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


def docker(*arguments: str, check: bool = True) -> str:
    """Standard output of ``docker <arguments>``."""
    return run_docker(arguments, check=check).stdout


def run_docker(arguments: Sequence[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)} → {done.returncode}\n{done.stderr[-2000:]}")
    return done
