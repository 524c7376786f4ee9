"""System A: what ``forward-a`` hands events to. It takes them; broken, it refuses each, which then is a dead
letter. In a browser it says which, and has the button for the other.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>System A</title>
<h1>System A</h1><p>{state}</p><p>Events taken: {taken}</p>
<form method="post" action="/{verb}"><button>{button}</button></form></html>
"""


class SystemA:
    """A receiver of events at ``url``, on a port of its own. ``taken`` holds the ids of what it took;
    ``broken`` makes it refuse, and is changed at ``page``, too: ``POST /break`` and ``POST /mend``."""

    def __init__(self) -> None:
        self.broken = False
        self.taken: list[str] = []
        system, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                state = (
                    "It is broken: it refuses every event with 422." if system.broken else "It takes events."
                )
                verb, button = ("mend", "Mend it") if system.broken else ("break", "Break it")
                text = PAGE.format(state=state, taken=len(system.taken), verb=verb, button=button)
                self._answer(200, text.encode(), ("Content-Type", "text/html; charset=utf-8"))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path in ("/break", "/mend"):
                    system.broken = self.path == "/break"
                    self._answer(303, b"", ("Location", "/"))
                    return
                with lock:
                    status = 422 if system.broken else 200
                    if not system.broken:
                        system.taken.append(str(json.loads(body)["id"]))
                self._answer(status)

            def _answer(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (*headers, ("Content-Length", str(len(body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.page = f"http://127.0.0.1:{self._server.server_port}/"
        self.url = f"{self.page}hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def settings(self, folder: Path, *types: str) -> dict[str, str]:
        """Settings of ``forward-a`` that hand it these EventTypes, by a file in ``folder``."""
        file = folder / "forward.toml"
        file.write_text(
            f'[systems.a]\nurl = "{self.url}"\ntypes = {json.dumps(types)}\nunsigned = true\n',
            encoding="utf-8",
        )
        return {"FORWARD_FILE": str(file), "FORWARD_ALLOW_NETWORKS": "127.0.0.0/8"}

    def stop(self) -> None:
        """Nothing listens any more."""
        self._server.shutdown()
        self._server.server_close()
