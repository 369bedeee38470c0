"""A private root: an unpacked image whose programs run on this machine, apart from all else, with no engine.

One first process holds namespaces of its own (mounts, processes, network, names) for as long as its stdin is
open. The kernel ends everything in them with it, so that nothing is left behind even when this program is
killed. The network has nothing but loopback: ports are free whatever else this machine runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.process import run
from pulsar_arm.platforms import Platform

_log = logging.getLogger("pulsar_arm")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_TOOLS = ("unshare", "nsenter", "mount")
_NAME = "pulsar-arm"
# What the first process does: loopback up, a name, mounts, then wait until stdin ends and take in orphans.
# Java finds the disk of a folder in /proc/mounts, so the root is a mount of its own. Of this machine's
# devices only those that every container has are shown.
_FIRST = """
import fcntl, os, signal, socket, struct, subprocess, sys
root, name = sys.argv[1:]
me = os.readlink("/proc/self")
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
socket.sethostname(name)
mount = lambda *words: subprocess.run(["mount", *words], check=True)
mount("--bind", root, root)
mount("-t", "proc", "proc", root + "/proc")
for folder in ("/dev", "/run", "/tmp"):
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root + folder)
for device in ("null", "zero", "full", "random", "urandom"):
    open(root + "/dev/" + device, "w").close()
    mount("--bind", "/dev/" + device, root + "/dev/" + device)
os.mkdir(root + "/dev/shm")
os.chmod(root + "/dev/shm", 0o1777)
os.symlink("/proc/self/fd", root + "/dev/fd")
os.chroot(root)
with open("/etc/hosts", "w") as file:
    file.write("127.0.0.1 localhost " + name + "\\n")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(me, flush=True)
while os.read(0, 1):
    pass
"""
# What becomes a program of the image: it has no capabilities, whoever it runs as, and can get none. Its
# environment comes as an argument, for an image's LD_PRELOAD is not for this machine's python.
_PROGRAM = """
import ctypes, json, os, sys
root, home, uid, gid, env, *argv = sys.argv[1:]
os.chroot(root)
os.chdir(home)
prctl, number = ctypes.CDLL(None).prctl, 0
while prctl(24, number, 0, 0, 0) == 0:  # PR_CAPBSET_DROP
    number += 1
prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
env = json.loads(env)
reason = "there is no such program on the PATH"
for folder in [""] if "/" in argv[0] else env.get("PATH", "/usr/bin:/bin").split(":"):
    try:
        os.execve(os.path.join(folder, argv[0]), argv, env)
    except FileNotFoundError:
        continue
    except OSError as error:
        reason = error.strerror
print(argv[0] + ": " + reason)
sys.exit(127)
"""


@dataclass(frozen=True, slots=True)
class PrivateRoot:
    """A machine (see `Machine`) in namespaces; made by `private_root`."""

    description: str
    _enter: tuple[str, ...]
    _env: Mapping[str, str]
    _logs: Path
    _started: list[_Process] = field(default_factory=list)

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> _Process:
        """Begin a program as the image's user, in its folder, with its environment and `env`."""
        _log.debug("+ (in the private root) %s", shlex.join(argv)[:400])
        log = self._logs / f"{len(self._started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*self._enter, json.dumps({**self._env, **(env or {})}), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running = _Process(process, log)
        self._started.append(running)
        return running


@dataclass(frozen=True, slots=True)
class _Process:
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def status(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def private_root(
    root: Path, emulator: Emulator, env: Mapping[str, str], user: str, home: str
) -> Iterator[PrivateRoot]:
    """Hold a private root open over the unpacked `root`; everything in it has ended afterwards.

    `user` is the image's (`UID[:GID]`, or a name of its passwd); `home` the folder that programs start in, as
    the image has it. HostError where the kernel, the rights or a tool lack.
    """
    root = root.resolve()
    if os.geteuid() != 0:
        raise HostError("A private root needs root: run as root, or with --where engine.")
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        raise HostError(f"{missing[0]} is not installed: as root, run `apt-get install util-linux mount`.")
    register(emulator)
    for name in ("proc", "dev", "run", "tmp", "etc"):
        if (root / name).is_symlink():
            raise InputError(f"/{name} of the image is a symbolic link: no engine would start it either.")
        (root / name).mkdir(exist_ok=True)
    # The image's user has to get in, whatever this user's umask was when it was unpacked.
    root.chmod(0o755)
    uid, gid = _who(root, user)
    apart = ("--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child")
    with (
        tempfile.TemporaryDirectory(prefix="pulsar-arm-") as logs,
        Path(logs, "first.log").open("wb+") as said,
        subprocess.Popen(
            [_tool("unshare"), *apart, "--", sys.executable, "-Ic", _FIRST, str(root), _NAME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        ) as first,
    ):
        machine = None
        try:
            number = _first_line(first.stdout)
            if not number:
                said.seek(0)
                words = said.read().decode(errors="replace").strip() or "nothing was said"
                raise HostError(f"A private root cannot be made here: {words.splitlines()[-1]}.")
            spaces = ("--mount", "--pid", "--net", "--uts", "--ipc")
            program = (sys.executable, "-Ic", _PROGRAM, str(root), home, uid, gid)
            enter = (_tool("nsenter"), "--target", number, *spaces, "--", *program)
            place = f"in a private root {emulator.description}"
            machine = PrivateRoot(place, enter, {"HOME": home, **env}, Path(logs))
            yield machine
        finally:
            first.kill()
            for running in machine._started if machine else ():
                running.stop()


def register(emulator: Emulator) -> None:
    """Have the kernel hand programs of the emulator's platform to it, in every root (binfmt_misc, flag F).

    Nothing where the machine is of that platform or a registration exists. HostError without the right.
    """
    platform = emulator.platform
    if emulator.native or any(_registered(file) for file in _BINFMT.glob(f"*{platform.qemu}*")):
        return
    if not (_BINFMT / "register").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)])
    rule = f":pulsar-arm-{platform.qemu}:M::{_magic(platform)}:{emulator.program}:F"
    try:
        (_BINFMT / "register").write_text(rule)
    except OSError as error:
        name = f"{platform.name} programs are not handed to {emulator.program}"
        raise HostError(
            f"{name}: {error.strerror}; as root, run `apt-get install binfmt-support`."
        ) from error


def _registered(file: Path) -> bool:
    text = file.read_text()
    return text.startswith("enabled") and any(
        line.startswith("flags:") and "F" in line for line in text.splitlines()
    )


def _magic(platform: Platform) -> str:
    """Magic and mask of a little-endian 64-bit ELF program, as qemu's own binfmt files have them."""
    low, high = platform.elf_machine & 0xFF, platform.elf_machine >> 8
    magic = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + rf"\x02\x00\x{low:02x}\x{high:02x}"
    return magic + ":" + r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"


def _who(root: Path, user: str) -> tuple[str, str]:
    """The numbers of the user and group that an image's config names (OCI image-spec, config.md, "User")."""
    name, _, group = user.partition(":")
    passwd = root / "etc" / "passwd"
    rows = [line.split(":") for line in passwd.read_text().splitlines()] if passwd.is_file() else []
    known = next((row for row in rows if len(row) > 3 and name in (row[0], row[2])), ["", "", name, "0"])
    if not known[2].isdigit() or not (group or "0").isdigit():
        raise HostError(f"The image runs as {user!r}, which its /etc/passwd does not know: give it numbers.")
    return known[2], group or known[3]


def _first_line(stream: IO[bytes] | None) -> str:
    return stream.readline().decode().strip() if stream else ""


def _tool(name: str) -> str:
    return shutil.which(name) or name
