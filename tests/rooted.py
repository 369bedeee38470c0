"""A small root of this machine's own programs, which a private root or a container can run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("sh", "id", "sleep", "cat", "ls", "tail", "chroot", "uname")


def made_root(root: Path) -> Path:
    """A shell and a few programs of this machine, with the libraries they ask for."""
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program is not None
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        files = [word for word in told.split() if word.startswith("/")]
        for file in [*files, program]:
            target = root / file.lstrip("/") if file in files else root / "usr/bin" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    (root / "home").mkdir()
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nmade:x:4321:77::/home:/bin/sh\n")
    return root
