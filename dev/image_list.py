"""Run inside the image, from standard input: what is in it, by version and hash, one line each.

Byte code is left out, since it holds times. Of Python and the system stand their packages' versions.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

print(f"python {sys.version.split()[0]}")
packages = ["dpkg-query", "--show", "--showformat", "debian ${Package} ${Version}\n"]
print(subprocess.run(packages, check=True, capture_output=True, text=True).stdout, end="")
for path in sorted(Path(sys.prefix).rglob("*")):
    if path.is_file() and path.suffix != ".pyc":
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
