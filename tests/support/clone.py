"""A clone of this project in a folder of its own, with a virtual environment, for tests that change files.

The environment is new and the packages in it are those of the environment that the tests run in, so nothing
is downloaded; dingbridge itself is installed from the clone.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.processes import environment

ROOT = Path(__file__).parents[2]

LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".cache", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "data", "build"),
    *("dist", "node_modules", "models", "target", "jars", "plugins"),  # the last five: made in examples/
)


class Clone:
    """``path`` is the clone. ``run`` runs a command in it, ``sh`` a shell script."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.path = folder / "dingbridge"
        self.env = environment({"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, env or {})
        shutil.copytree(ROOT, self.path, ignore=LEFT_OUT, symlinks=True)
        self.venv = virtual_environment(self.path / ".venv")
        self.install(".")
        # what scripts/install writes down when all packages are there
        packages = "cat requirements-installer.txt requirements-dev.txt | cksum"
        self.sh(f'echo "$({packages}) $(pwd -P)" >.venv/.installed; cksum <pyproject.toml >>.venv/.installed')
        self.sh("cksum <requirements-lint.txt >.venv/.installed-lint")

    def install(self, project: str, *, editable: bool = True) -> None:
        """Install a project into the environment, without what it needs: that is there."""
        pip = [str(self.venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
        self.run(*pip, "--no-build-isolation", *(["--editable"] if editable else []), project)

    def run(
        self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and fail if it does not end with ``code``. What it leaves running in the
        background is killed."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                arguments,
                cwd=self.path,
                env=self.env | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                ended: int | None = process.wait(240)
            except subprocess.TimeoutExpired:
                ended = None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            out.seek(0)
            err.seek(0)
            result = subprocess.CompletedProcess(arguments, process.returncode, out.read(), err.read())
        assert ended == code, f"{arguments} ended: {ended}\n{result.stdout}\n{result.stderr}"
        return result

    def sh(self, script: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell script, which ends at its first error."""
        return self.run("sh", "-eu", "-c", script, env=env)

    def dingbridge(
        self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.venv / "bin" / "dingbridge"), *arguments, code=code, env=env)


def virtual_environment(path: Path) -> Path:
    """A new environment that also has the packages of ours, but not dingbridge: what an editable install has
    put on our path is not followed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=120)
    return with_packages_of_the_tests(path)


def with_packages_of_the_tests(path: Path) -> Path:
    """The environment at ``path``, which from now on also has the packages of ours."""
    [site] = path.glob("lib/python*/site-packages")
    (site / "packages-of-the-tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, but what Python and its tools leave behind."""
    passed_over = {".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"}
    found: dict[str, bytes] = {}
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - passed_over)
        for path in (Path(where, name) for name in sorted(files)):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found
