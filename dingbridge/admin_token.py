"""The token that whoever changes something on a private listener must send: who may read it is the owner of
the data folder.

Not responsible for checking it: ``health_server.py``.
"""

import fcntl
import os
import secrets
from pathlib import Path
from typing import Final

from dingbridge.errors import BridgeError

FILE: Final = "admin.token"


def admin_token(data_dir: Path) -> str:
    """The token in ``DATA_DIR/admin.token``, for ``Authorization: Bearer``; made (0600) by whoever is first.

    Raises ``BridgeError`` where this user may not read it, others may, or it cannot be made.
    """
    path = data_dir / FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("r+", encoding="ascii") as file:
            _refuse_strange(path, os.fstat(file.fileno()), data_dir.stat().st_uid)
            fcntl.flock(file, fcntl.LOCK_EX)  # of two that begin at once, one makes it and the other reads it
            token = file.read().strip()
            if not token:
                token = secrets.token_urlsafe(32)
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
            return token
    except PermissionError:
        raise BridgeError(
            f"user id {os.geteuid()} may not read {path}, the token of the private listener; "
            "run this as the user of the ingress"
        ) from None
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "no ASCII text"
        raise BridgeError(
            f"the token of the private listener, {path}, cannot be read or made ({words}); "
            "set DATA_DIR to a folder that can be written"
        ) from error


def _refuse_strange(path: Path, found: os.stat_result, owner: int) -> None:
    """Whoever knows the token may change something; its group is the pod's own on a volume of Kubernetes
    (``fsGroup``)."""
    why = f"belongs to user id {found.st_uid}" if found.st_uid not in (os.geteuid(), owner) else None
    if found.st_mode & 0o007:
        why = "may be read or written by others"
    if why:
        raise BridgeError(
            f"{path}, the token of the private listener, {why}, who may know it: remove it, and start the "
            "processes that use it again; the first makes another"
        )
