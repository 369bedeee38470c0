"""Real engines for tests, and what they must not leave behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import root_entries


def tree(image: Image) -> dict[LayerEntry, bytes | None]:
    return {one.entry: one.content and one.content.read() for one in root_entries(image)}


def left_behind(blobs: Path) -> list[str]:
    """What a build has left in the Docker Engine, mounted, or in the folder of the blobs, of its own."""
    mounts = Path("/proc/self/mountinfo")
    left = [line for line in mounts.read_text().splitlines() if str(blobs) in line] if mounts.exists() else []
    left += [path.name for path in blobs.glob("*") if path.is_dir()]
    if shutil.which("docker"):
        names = ("docker", "image", "ls", "--format", "{{.Repository}}")
        done = subprocess.run(names, capture_output=True, text=True, check=False)
        left += [name for name in done.stdout.split() if re.fullmatch(r"pulsar-arm-[0-9a-f]{16}", name)]
    return left


@pytest.fixture(scope="session")
def own_builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A BuildKit of its own, reached through buildx's remote driver."""
    if not shutil.which("buildkitd") or not (shutil.which("runc") or shutil.which("buildkit-runc")):
        pytest.skip("buildkitd and runc are not both installed")
    if os.geteuid() != 0:
        pytest.skip("buildkitd needs root")
    if subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no buildx")
    place = tmp_path_factory.mktemp("buildkit")
    address, name = f"unix://{place}/socket", f"pulsar-arm-test-{os.getpid()}"
    options = ["--addr", address, "--root", str(place / "root"), "--oci-worker-net=host"]
    with (place / "log").open("wb") as log:
        daemon = subprocess.Popen(["buildkitd", *options], stdout=log, stderr=log)
    try:
        create = ["docker", "buildx", "create", "--name", name, "--driver", "remote", address]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        inspect = ["docker", "buildx", "inspect", "--bootstrap", name]
        subprocess.run(inspect, check=True, capture_output=True, timeout=60)
        yield name
    finally:
        subprocess.run(["docker", "buildx", "rm", name], capture_output=True, timeout=60, check=False)
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(place / "root", ignore_errors=True)
