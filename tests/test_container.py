"""Programs of a tiny image in a container of this machine's engine, where there is one."""

from __future__ import annotations

import platform as machine
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders_oci import file, folder, image_of
from rooted import made_root

from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.container import container
from pulsar_arm.host.docker_engine import LocalEngine, connect
from pulsar_arm.host.machine import Machine, run
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import platform

HERE = platform(machine.machine())


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    try:
        return connect()
    except HostError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root = made_root(tmp_path_factory.mktemp("root"))
    paths = sorted(path.relative_to(root) for path in root.rglob("*"))
    parents = [folder(str(path)) for path in paths if (root / path).is_dir()]
    files = [file(str(path), root / path, 0o755) for path in paths if not (root / path).is_dir()]
    config = {"User": "4321:77", "WorkingDir": "/home", "Env": ["PATH=/usr/bin", "MADE=a b"]}
    place = tmp_path_factory.mktemp("blobs")
    return image_of(place, [*parents, *files], architecture=HERE.oci, config=config)


@pytest.fixture(scope="module")
def place(engine: LocalEngine, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with container(engine, image, HERE, tmp_path_factory.mktemp("work"), Silent()) as opened:
        yield opened


def test_a_program_has_the_image_s_user_folder_and_environment(place: Machine) -> None:
    finished = run(place, ("sh", "-c", "id -u; id -g; pwd; echo $MADE $MORE; exit 3"), 60, {"MORE": "x"})
    assert (finished.status, finished.lines) == (3, ["4321", "77", "/home", "a b x"])


def test_the_network_is_loopback_alone(place: Machine) -> None:
    assert run(place, ("ls", "/sys/class/net"), 60).lines == ["lo"]


def test_what_takes_too_long_is_stopped_with_all_it_started(place: Machine) -> None:
    finished = run(place, ("sh", "-c", "echo begun; sleep 4245 & sleep 4246"), 8)
    assert (finished.status, finished.lines) == (None, ["begun"])
    seen = run(place, ("sh", "-c", "cat /proc/[0-9]*/cmdline"), 60)
    assert "4245" not in "".join(seen.lines)


def test_nothing_is_left_in_the_engine(engine: LocalEngine, image: Image, tmp_path: Path) -> None:
    before = held(engine)
    with container(engine, image, HERE, tmp_path, Silent()):
        assert len(held(engine)) == len(before) + 2
    assert held(engine) == before


def held(engine: LocalEngine) -> set[str]:
    """The containers of the engine, and the names that a verification gives."""
    tags = [tag for one in engine.client.images.list() for tag in one.tags]
    ours = {tag for tag in tags if tag.startswith("pulsar-arm-verify:")}
    return ours | {str(one.id) for one in engine.client.containers.list(all=True)}
