"""Build by buildah, or by podman, which has buildah inside, in a storage that lives as long as the build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pulsar_arm.engines.external import External, Job, emulated_run, follow_build
from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_layout
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.emulation import kernel_runs
from pulsar_arm.host.process import run
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform

_PROGRAMS = ("buildah", "podman")
_INSTALL = "apt-get install --no-install-recommends buildah"
_QEMU = "apt-get install --no-install-recommends qemu-user-static binfmt-support"


class Podman(External):
    """The engine that needs no service: buildah, as itself or inside podman."""

    name = "podman"

    def lacks(self, dockerfile: str, target: Platform) -> str:
        """Neither buildah nor podman, or no emulation for a RUN of `target`."""
        try:
            _program()
        except HostError as error:
            return str(error).rstrip(".")
        line = emulated_run(dockerfile, target)
        if line and not kernel_runs(target):
            sentence = f"line {line} runs programs of {target.name}, here an 'exec format error'"
            return f"{sentence}: as root, run `{_QEMU}`"
        return ""

    def _run(self, job: Job, place: Path, progress: Progress) -> Image:
        with _storage(place) as command:
            for number, (name, image) in enumerate(job.images.items()):
                write_layout(image, place / f"image-{number}", "base")
                # Of the path it makes a name, which not every path is fit for.
                pulled = run([*command, "pull", "-q", f"oci:image-{number}"], cwd=place)
                shutil.rmtree(place / f"image-{number}")
                run([*command, "tag", pulled.stdout.decode().split()[-1], f"localhost/{name}"])
            dockerfile = place / f"{job.name}.Dockerfile"
            dockerfile.write_text(job.dockerfile, encoding="utf-8")
            argv = [*command, "build", "--platform", job.platform.oci_platform, "--layers", "--pull=false"]
            argv += ["--format", "oci", "--timestamp", "0", "--identity-label=false", "-t", "localhost/built"]
            argv += [f"--build-arg={name}={value}" for name, value in job.arguments.items()]
            argv += ["-f", str(dockerfile), str(job.context)]
            follow_build(argv, job, progress)
            run(
                [
                    *command,
                    "push",
                    "-q",
                    "--disable-compression",
                    "localhost/built",
                    f"oci:{place}/built:built",
                ]
            )
        return read_image(place / "built", job.platform)


def _program() -> str:
    for program in _PROGRAMS:
        if shutil.which(program):
            return program
    raise HostError(f"neither buildah nor podman is installed: as root, run `{_INSTALL}`.")


@contextmanager
def _storage(place: Path) -> Iterator[list[str]]:
    """The program with a storage of its own below `place`, so that nothing of it outlives the build."""
    program, root = _program(), place / "storage"
    try:
        yield [program, "--root", str(root), "--runroot", str(place / "run")]
    finally:
        _unmount(root)
        if os.geteuid() != 0:
            # What belongs to other users of our own user namespace only that namespace can remove.
            run([program, "unshare", "rm", "-rf", str(root)], ok=None)
        shutil.rmtree(root, ignore_errors=True)


def _unmount(root: Path) -> None:
    """What an interrupted build left mounted below `root`: removing the storage must not reach into it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{root.resolve()}/")), reverse=True):
        run(["umount", "-l", mount])
