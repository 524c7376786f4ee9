"""A certificate authority of our own for tests, and a server's certificate by it, by Java's ``keytool``.

Whoever can run Kafka from its jars has that tool; nothing else is needed.
"""

import subprocess
from functools import cache
from pathlib import Path

from dingbridge.simulator.kafka.jars import java

PASSWORD = "for-tests-only"


class Authority:
    """One CA in ``folder``. ``certificate`` is its PEM, what clients are to trust."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.certificate = folder / f"{name}.pem"
        self._store = folder / f"{name}.p12"
        self._make(self._store, name, "-ext", "bc:critical=ca:true", "-ext", "ku:critical=keyCertSign")
        _keytool(self._store, "-exportcert", "-rfc", "-alias", name, "-file", str(self.certificate))

    def server_keystore(self, name: str = "server") -> Path:
        """A PKCS#12 keystore (``PASSWORD``) with a key for 127.0.0.1 and its certificate by this CA."""
        store, request, signed = (self.folder / f"{name}.{kind}" for kind in ("p12", "csr", "pem"))
        self._make(store, name)
        _keytool(store, "-certreq", "-alias", name, "-file", str(request))
        for_host = ("-ext", "san=ip:127.0.0.1", "-ext", "eku=serverAuth")
        _keytool(
            self._store,
            *("-gencert", "-rfc", "-alias", self.name, "-validity", "30", *for_host),
            *("-infile", str(request), "-outfile", str(signed)),
        )
        signed.write_text(signed.read_text() + self.certificate.read_text())  # the whole chain at once
        _keytool(store, "-importcert", "-noprompt", "-alias", name, "-file", str(signed))
        return store

    @staticmethod
    def _make(store: Path, name: str, *more: str) -> None:
        made = ("-keyalg", "EC", "-groupname", "secp256r1", "-dname", f"CN={name}", "-validity", "30")
        _keytool(store, "-genkeypair", "-alias", name, *made, *more)


@cache
def _tool() -> str:
    return str(Path(java()).resolve().with_name("keytool"))


def _keytool(store: Path, *arguments: str) -> None:
    command = [_tool(), "-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", *arguments]
    command += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
