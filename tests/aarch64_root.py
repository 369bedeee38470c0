"""A private root on this machine in which aarch64 programs run, as a container would be: for the e2e tests.

Needs root: the kernel hands aarch64 programs to qemu-user by binfmt_misc, and namespaces keep what is
started apart, so that ending the first process ends all of them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
# The ELF header of a little-endian aarch64 program or library, as qemu's own binfmt.d file has it.
_MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
_MOUNTS = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/run"
printf '127.0.0.1 localhost %s\\n' "$(hostname)" > "$ROOT/etc/hosts"
cd /
exec chroot --userspec=10000:0 "$ROOT" /usr/bin/env -i -C /pulsar "$@"
"""


def prepare() -> str:
    """Have the kernel run aarch64 programs; gives why that cannot be, or nothing."""
    if platform.machine() == "aarch64" or any(_BINFMT.glob("*aarch64*")):
        return "" if os.geteuid() == 0 else "a private root needs root"
    if os.geteuid() != 0:
        return "registering qemu for aarch64 programs needs root"
    qemu = shutil.which("qemu-aarch64-static")
    if not qemu:
        return "qemu-aarch64-static is missing (apt-get install qemu-user-static)"
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "none", str(_BINFMT)], check=True)
    if not any(_BINFMT.glob("*aarch64*")):
        # F: opened now, so that it is found from inside every root.
        (_BINFMT / "register").write_text(f":pulsar-arm-aarch64:M::{_MAGIC}:{_MASK}:{qemu}:F")
    return ""


@dataclass(slots=True)
class Running:
    """A program that runs in the root, with its log."""

    process: subprocess.Popen[bytes]
    log: Path
    started: float

    def wait_for(self, pattern: str, seconds: float) -> tuple[str, float]:
        """The first line of the log that matches, and when it came; AssertionError with the log's end."""
        while True:
            ended = self.process.poll() is not None
            for line in self.log.read_text(errors="replace").splitlines():
                if re.search(pattern, line):
                    return line, time.monotonic() - self.started
            waited = time.monotonic() - self.started
            if ended or waited > seconds:
                last = "\n".join(
                    line[:300] for line in self.log.read_text(errors="replace").splitlines()[-25:]
                )
                why = f"it ended with {self.process.returncode}" if ended else f"not within {seconds:.0f} s"
                raise AssertionError(f"{pattern!r} was not logged: {why}\n{last}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End it and everything it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


# A network of its own with nothing but loopback, so that ports are free whatever else this machine runs.
_LOOPBACK = """
import fcntl, signal, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
print("up", flush=True)
signal.pause()
"""


class AArch64Root:
    """An unpacked image whose commands run as its user, each in its own processes, all in one network."""

    def __init__(self, root: Path, image_env: Mapping[str, str]) -> None:
        self._root = root
        self._env = {**image_env, "HOME": "/pulsar"}
        self._network = subprocess.Popen(
            ["unshare", "--net", "--kill-child", "--fork", sys.executable, "-c", _LOOPBACK],
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout is not None
        assert self._network.stdout.readline() == b"up\n"

    def start(self, name: str, *words: str, **env: str) -> Running:
        """Begin a command; its output goes to NAME.log beside the root."""
        log = self._root.parent / f"{name}.log"
        pairs = [f"{key}={value}" for key, value in {**self._env, **env}.items()]
        inside = ("nsenter", f"--net=/proc/{self._network.pid}/ns/net")
        apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*inside, *apart, "bash", "-c", _MOUNTS, "bash", *pairs, *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "ROOT": str(self._root)},
            )
        return Running(process, log, time.monotonic())

    def close(self) -> None:
        """End the network; what still ran in it was stopped before."""
        self._network.kill()
        self._network.wait()
