"""Build by BuildKit through docker: buildx with any of its drivers, or the BuildKit inside an old engine."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.engines.external import External, Job, emulated_run, follow_build
from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_archive, write_layout
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.emulation import kernel_runs
from pulsar_arm.host.process import run
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform

_SECONDS = 60
"""For a question to the engine."""
_API = (1, 39)
"""Docker Engine 18.09, the first with BuildKit inside."""
_PLUGIN_NEEDED = 23
"""From this version on docker's client leaves BuildKit to the plugin."""
_DOCKER = "apt-get install --no-install-recommends docker.io docker-buildx"
_PLUGIN = (
    "apt-get install --no-install-recommends docker-buildx (docker-buildx-plugin of Docker's own packages)"
)
_QEMU = "docker run --privileged --rm tonistiigi/binfmt --install"


@dataclass(frozen=True, slots=True)
class _Builder:
    """The BuildKit that docker leads to."""

    command: tuple[str, ...]
    exports: bool
    """Whether it takes OCI layouts and gives OCI archives; else images go through the engine."""
    platforms: tuple[str, ...]
    """What it can run, `linux/arm64`; empty when it does not say."""


class Buildx(External):
    """The engine that is BuildKit, of a Docker Engine or of a builder of its own."""

    name = "buildx"

    def lacks(self, dockerfile: str, target: Platform) -> str:
        """No docker, no engine, none with BuildKit, or no emulation for a RUN of `target`."""
        try:
            builder = _find_builder()
        except HostError as error:
            return str(error).rstrip(".")
        line = emulated_run(dockerfile, target)
        if line and not _runs(builder, target):
            sentence = f"line {line} runs programs of {target.name}, here an 'exec format error'"
            return f"{sentence}: run `{_QEMU} {target.oci}`"
        return ""

    def _run(self, job: Job, place: Path, progress: Progress) -> Image:
        builder = _find_builder()
        archive = place / "built.tar"
        if builder.exports:
            contexts = []
            for number, (name, image) in enumerate(job.images.items()):
                layout = place / f"image-{number}"
                write_layout(image, layout, "base")
                contexts += ["--build-context", f"{name}=oci-layout://{layout.absolute()}@{image.digest}"]
            output = ["--output", f"type=oci,dest={archive}"]
            _build(builder, job, job.dockerfile, place, [*contexts, *output], progress)
        else:
            with _names() as name_next:
                text = job.dockerfile
                for name, image in job.images.items():
                    text = _renamed(text, name, loaded := name_next())
                    write_archive(image, place / "base.tar", loaded, force=True)
                    run(["docker", "load", "-q", "-i", str(place / "base.tar")])
                    (place / "base.tar").unlink()
                built = name_next()
                load = ["--load"] if "buildx" in builder.command else []
                _build(builder, job, text, place, [*load, "--tag", built], progress)
                run(["docker", "save", "-o", str(archive), built])
        return read_image(archive, job.platform)


def _build(
    builder: _Builder, job: Job, text: str, place: Path, options: list[str], progress: Progress
) -> None:
    dockerfile = place / f"{job.name}.Dockerfile"
    dockerfile.write_text(text, encoding="utf-8")
    arguments = [f"--build-arg={name}={value}" for name, value in job.arguments.items()]
    argv = [*builder.command, "--progress", "plain", "--platform", job.platform.oci_platform]
    argv += [*options, *arguments, "-f", str(dockerfile), str(job.context)]
    follow_build(argv, job, progress, {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})


def _find_builder() -> _Builder:
    """The current builder; HostError when there is none, or none that is BuildKit."""
    if shutil.which("docker") is None:
        raise HostError(f"docker is not installed: as root, run `{_DOCKER}`.")
    plugin = run(["docker", "buildx", "version"], timeout=_SECONDS, ok=None).returncode == 0
    told = _inspect() if plugin else {}
    # Without its engine the default builder has a driver without a name.
    if plugin and (told.get("Driver") or "docker") != "docker":
        return _Builder(("docker", "buildx", "build"), True, _listed(told))
    version = run(["docker", "version", "--format", "{{json .}}"], timeout=_SECONDS, ok=None)
    try:
        answer = json.loads(version.stdout)
        server, client = answer.get("Server") or {}, answer["Client"]["Version"]
    except (ValueError, KeyError, TypeError, AttributeError):
        server, client = {}, ""
    if not server:
        said = version.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise HostError(f"no Docker Engine answers ({said[-1].rstrip('.')}): start one, or set DOCKER_HOST.")
    names = [str(part.get("Name", "")) for part in server.get("Components") or ()]
    api = tuple(
        int(part) for part in str(server.get("ApiVersion") or server.get("APIVersion") or "0").split(".")
    )
    if any("Podman" in name for name in names) or api < _API:
        raise HostError(
            f"{' '.join(names) or 'the engine'} has no BuildKit: use Docker Engine 18.09 or later, or the"
            " engine podman."
        )
    if plugin:
        return _Builder(("docker", "buildx", "build"), False, _listed(told))
    if not re.match(r"\d+", client) or int(client.partition(".")[0]) >= _PLUGIN_NEEDED:
        raise HostError(f"docker {client} builds only with its plugin buildx: as root, run `{_PLUGIN}`.")
    return _Builder(("docker", "build"), False, ())


def _inspect(*options: str) -> Mapping[str, str]:
    """What buildx tells of its current builder: the first value of each line's name, but of all platforms."""
    told: dict[str, str] = {}
    done = run(["docker", "buildx", "inspect", *options], timeout=_SECONDS, ok=None)
    for line in done.stdout.decode(errors="replace").splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() == "Platforms":
            told["Platforms"] = f"{told.get('Platforms', '')},{value}"
        else:
            told.setdefault(name.strip(), value.strip())
    return told


def _listed(told: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name.strip().rstrip("*") for name in told.get("Platforms", "").split(",") if name.strip())


def _runs(builder: _Builder, target: Platform) -> bool:
    """Whether the builder runs programs of `target`; one that sleeps is woken to be asked."""
    platforms = builder.platforms
    if not platforms and "buildx" in builder.command:
        platforms = _listed(_inspect("--bootstrap"))
    return target.oci_platform in platforms if platforms else kernel_runs(target)


def _renamed(text: str, name: str, new: str) -> str:
    """The Dockerfile with the image `name` under the name by which the engine has it."""
    pattern = rf"^(\s*FROM\s+(?:--\S+\s+)*){re.escape(name)}(?=\s|$)"
    return re.sub(pattern, rf"\g<1>{new}", text, flags=re.IGNORECASE | re.MULTILINE)


class _Names:
    """Names for images of one build in the engine, which nobody else has."""

    def __init__(self) -> None:
        self._prefix = f"pulsar-arm-{secrets.token_hex(8)}"
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"{self._prefix}:{len(self.given)}")
        return self.given[-1]


@contextmanager
def _names() -> Iterator[_Names]:
    """Give names; whatever the engine has under them afterwards is removed."""
    names = _Names()
    try:
        yield names
    finally:
        for name in reversed(names.given):
            run(["docker", "rmi", "-f", name], timeout=_SECONDS, ok=None)
