"""`make bench`: speed and memory as ratios against floors and rivals of the same run. Gates nothing.

Each pair is run in turn, three times after a warm-up, and the median ratio is printed; absolute times of
a shared machine mean little. Rivals that are not here are left out, and that is said.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RELEASE = "2.6.0"
ROUNDS = 3
PULSAR_ARM = (sys.executable, "-m", "pulsar_arm", "-q")
FLOOR = """
import sys
from zlib_ng import gzip_ng
with gzip_ng.open(sys.argv[1]) as stream:
    while stream.read(1 << 20):
        pass
"""
PLAIN = """
import io, sys, tarfile, zipfile
with tarfile.open(sys.argv[1]) as tar:
    for member in tar:
        if member.isfile():
            content = tar.extractfile(member).read()
            if content[:2] == b"PK":
                with zipfile.ZipFile(io.BytesIO(content)) as jar:
                    for entry in jar.infolist():
                        jar.read(entry)[:4]
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    wall: float
    cpu: float
    """Seconds of user and system time, children included."""
    peak: float
    """MiB."""


def run(
    words: Sequence[str | Path], fails: Sequence[int] = (0,), before: Callable[[], None] | None = None
) -> Run:
    if before:
        before()
    started = time.monotonic()
    pid = os.posix_spawnp(
        str(words[0]),
        [str(word) for word in words],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _pid, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - started
    if os.waitstatus_to_exitcode(status) not in fails:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def against(name: str, ours: Callable[[], Run], other: Callable[[], Run], upside_down: bool = False) -> None:
    """Print ours/other (or other/ours) as the median of the paired runs."""
    pairs = [(ours(), other()) for _ in range(ROUNDS + 1)][1:]
    ratios = [(b.wall / a.wall if upside_down else a.wall / b.wall) for a, b in pairs]
    cpu = [(b.cpu / a.cpu if upside_down else a.cpu / b.cpu) for a, b in pairs]
    peak = max(a.peak for a, _b in pairs)
    print(
        f"{name}: {statistics.median(ratios):.2f} x wall ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"{statistics.median(cpu):.2f} x cpu, our peak {peak:.0f} MiB",
        flush=True,
    )


def main() -> None:
    tarball = Path(subprocess.check_output([*PULSAR_ARM, "fetch", RELEASE], text=True).strip())
    # JSON holds all that a scan finds out; a table needs the terminal's library on top.
    scan = lambda: run([*PULSAR_ARM, "scan", tarball, "--format", "json"], fails=(1,))  # noqa: E731
    against(
        "scan / plain decompression by zlib-ng", scan, lambda: run([sys.executable, "-c", FLOOR, tarball])
    )
    against(
        "a dozen plain lines of tarfile and zipfile / scan",
        scan,
        lambda: run([sys.executable, "-c", PLAIN, tarball]),
        True,
    )
    rival(scan, tarball)
    # What it brings in has to be in the cache, or nothing would be linked.
    with tempfile.TemporaryDirectory(dir=".") as place:
        run([*PULSAR_ARM, "port", tarball, "-o", Path(place, "ported")])
    planned = lambda: run([*PULSAR_ARM, "port", tarball, "--dry-run"])  # noqa: E731
    against("scan and linkage of every replacement / scan", planned, scan)
    with tempfile.TemporaryDirectory(dir=".") as place:
        images(Path(place), tarball)
        base(Path(place))


def rival(scan: Callable[[], Run], tarball: Path) -> None:
    """The scan against syft, which lists the jars of a tarball and none of the natives in them."""
    syft = shutil.which(os.environ.get("SYFT", "syft"))
    if not syft:
        print("syft: left out, it is not here (go install github.com/anchore/syft/cmd/syft@latest)")
        return
    os.environ["SYFT_CHECK_FOR_APP_UPDATE"] = "false"
    words = [syft, "scan", f"file:{tarball}", "--quiet", "--output", "json"]
    against("syft / scan", scan, lambda: run(words), True)


def images(place: Path, tarball: Path) -> None:
    """The embedded engine against a multi-stage `docker build` of the same tree and base."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        print("image: left out, no Docker Engine answers")
        return
    here = Path(__file__)
    archive, ported = place / "base.tar", place / "context" / "tree"
    subprocess.run(
        [sys.executable, here.with_name("bench_base.py"), place / "bases", "8", archive], check=True
    )
    subprocess.run([docker, "load", "-q", "-i", archive], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*PULSAR_ARM, "port", tarball, "-o", ported], check=True, stdout=subprocess.DEVNULL)
    (place / "context" / "Dockerfile").write_text(
        "FROM scratch AS tree\nCOPY tree /pulsar\n"
        "FROM pulsar-arm/bench:base\nCOPY --from=tree /pulsar /pulsar\n"
    )
    options = ("-q", "--no-cache", "--platform", "linux/arm64", "-t", "pulsar-arm/bench:built")
    count = itertools.count()

    def build() -> Run:
        # BuildKit remembers what it copied from a folder: under a new name it copies all of it, as at first.
        context = place / f"context-{next(count)}"
        (place / "context").rename(context)
        try:
            return run([docker, "build", *options, context])
        finally:
            context.rename(place / "context")

    def engine(*words: str) -> Callable[[], Run]:
        script = (sys.executable, here.with_name("bench_engine.py"), ported, place, archive, *words)
        return lambda: run(script)

    os.environ["DOCKER_BUILDKIT"] = "1"
    against("docker build / embedded engine, same tree", engine(), build, True)
    against("docker build / embedded engine with --fast", engine("--fast"), build, True)


def base(place: Path) -> None:
    """Our base against mmdebstrap with the packages' scripts run under emulation: one run each, minutes."""
    if os.geteuid() != 0 or not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        print("base: left out, it needs root and a registered qemu-aarch64 (binfmt_misc)")
        return
    print("base: one run each, this takes minutes ...", flush=True)
    cache = place / "cache"
    ours = run([sys.executable, str(Path(__file__).with_name("bench_base.py")), cache, "17"])
    include = (
        "openjdk-17-jre-headless,python3-minimal,python3-yaml,python3-kazoo,procps,less,curl,bind9-dnsutils,"
        "iputils-ping,netcat-openbsd,ca-certificates"
    )
    emulated = run(
        [
            "mmdebstrap",
            "-q",
            "--architectures=arm64",
            "--variant=minbase",
            f"--include={include}",
            "bookworm",
            place / "emulated.tar",
        ]
    )
    print(f"base by emulated maintainer scripts / ours: {emulated.wall / ours.wall:.1f} x wall")


if __name__ == "__main__":
    main()
