"""Choose an engine by what a Dockerfile asks for and what this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pulsar_arm.engines import ENGINES, Engine
from pulsar_arm.engines.external import External, Job
from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform

AUTO = "auto"


def choose_engine(
    name: str,
    dockerfile: str,
    target: Platform,
    progress: Progress,
    engines: Mapping[str, Engine] = ENGINES,
) -> Engine:
    """The engine `name`, or for `auto` the first of `engines` that can build `dockerfile` for `target`.

    Why an earlier one cannot is noted. HostError when the one that is named, or none, can.
    """
    if name != AUTO:
        if lacks := engines[name].lacks(dockerfile, target):
            raise HostError(f"The engine {name} cannot be used: {lacks}.")
        return engines[name]
    reasons: list[str] = []
    for engine in engines.values():
        lacks = engine.lacks(dockerfile, target)
        if not lacks:
            for reason in reasons:
                progress.note(f"Not built by {reason}.")
            return engine
        reasons.append(f"{engine.name}: {lacks}")
    raise HostError(f"No engine can build this here. {'. '.join(reasons)}.")


def build_dockerfile(job: Job, blobs: Path, *, engine: str = AUTO, progress: Progress) -> Image:
    """Build any Dockerfile by an engine that is a program, such as that of a base which installs packages.

    New layers are written into the folder `blobs`. HostError before anything is built when no engine can
    (no emulation for a RUN is foreseen); BuildError when the build fails or gives another platform.
    """
    able = {name: one for name, one in ENGINES.items() if isinstance(one, External)}
    chosen = choose_engine(engine, job.dockerfile, job.platform, progress, able)
    return able[chosen.name].build_job(job, blobs, progress=progress)
