"""All engines build the same tree and config; the programs are real ones, or the test is skipped."""

from __future__ import annotations

import os
import platform as machine
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders_engines import left_behind, tree
from builders_oci import CREATED, file, folder, hardlink, image_of, symlink

from pulsar_arm.engines import ENGINES
from pulsar_arm.engines.choice import build_dockerfile, choose_engine
from pulsar_arm.engines.external import Job, emulated_run
from pulsar_arm.errors import BuildError, HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.emulation import kernel_runs
from pulsar_arm.host.progress import Silent
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import AARCH64, PLATFORMS, Platform, platform

WAYS = ("embedded", "buildx", "buildx of its own", "docker without buildx", "podman")
BASE = [
    *(folder("etc"), file("etc/passwd", b"root"), folder("tmp", 0o1777), folder("srv", 0o700, 5, 5)),
    *(folder("usr"), folder("usr/lib"), symlink("lib", "usr/lib"), folder("opt"), file("opt/old", b"old")),
]
OWN = (10000, 0)
THIRD = [
    *(
        folder("pulsar", 0o2775, *OWN),
        folder("pulsar/lib", 0o775, *OWN),
        symlink("pulsar/now", "lib/netty.jar"),
    ),
    *(
        file("pulsar/lib/netty.jar", b"netty", 0o644, *OWN),
        hardlink("pulsar/lib/again.jar", "pulsar/lib/netty.jar"),
    ),
    *(folder("pulsar/empty", 0o700), file("pulsar/run", b"#!/bin/sh", 0o4755), file("pulsar/a b'ü", b"")),
]
NATIVE = [
    *(folder("pulsar", 0o2775, *OWN), folder("pulsar/lib", 0o775, *OWN)),
    *(
        file("pulsar/lib/rocksdb.jar", b"rocks", 0o600, 7, 8),
        folder("opt", 0o711, 9, 9),
        file("opt/old", b"new"),
    ),
]
DOCKERFILE = r"""# Like the image templates.
FROM scratch AS third-party
ADD third-party.tar /
FROM scratch AS native
ADD native.tar /

FROM debian-sid
COPY --from=third-party / /
COPY --from=native / /
LABEL org.opencontainers.image.version="2.6.0" \
      quoted="a \"b\" \$c"
ENV PULSAR_ROOT_LOGGER="INFO,CONSOLE"
ENV PATH="$PATH:/pulsar/bin"
WORKDIR /pulsar
USER 10000
"""


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


def recipe(where: Path, dockerfile: str = DOCKERFILE, architecture: str = "arm64") -> Recipe:
    config = {"Env": ["PATH=/bin", "JAVA_HOME=/jvm"], "Cmd": ["bash"], "Labels": {"of": "the base"}}
    base = image_of(where / "base", BASE, architecture=architecture, config=config)
    context = {"third-party.tar": tuple(THIRD), "native.tar": tuple(NATIVE)}
    return Recipe("pulsar", AARCH64, dockerfile, context, {"debian-sid": base}, CREATED)


@pytest.fixture
def engine(way: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of the engine for a way of building, if that is here."""
    if way == "buildx of its own":
        monkeypatch.setenv("BUILDX_BUILDER", request.getfixturevalue("own_builder"))
    if way == "docker without buildx":
        # The client of an engine of the years 18.09 to 20.10, which has BuildKit and no plugin.
        old = shutil.which("/usr/bin/docker")
        if not old or b"version 20." not in subprocess.check_output([old, "--version"]):
            pytest.skip("no docker client older than 23 is installed as /usr/bin/docker")
        wrapper = tmp_path / "bin" / "docker"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\n[ "$1" = buildx ] && exit 1\nexec {old} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    name = way if way in ENGINES else "buildx"
    if lacks := ENGINES[name].lacks("", AARCH64):
        pytest.skip(lacks)
    return name


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Image:
    where = tmp_path_factory.mktemp("expected")
    return ENGINES["embedded"].build(recipe(where), where / "blobs", fast=False, progress=Silent())


@pytest.mark.parametrize("way", WAYS)
def test_every_engine_builds_the_same_tree_and_config(
    way: str, engine: str, tmp_path: Path, expected: Image
) -> None:
    ordered = recipe(tmp_path)
    image = ENGINES[engine].build(ordered, tmp_path / "blobs", fast=False, progress=Silent())
    image.validate()
    assert tree(image) == tree(expected)
    assert image.settings["config"] == expected.settings["config"]
    assert image.platform == expected.platform
    assert image.settings["created"] == expected.settings["created"]
    assert image.layers[0] == ordered.images["debian-sid"].layers[0]
    blobs = [path.name for path in (tmp_path / "blobs").iterdir() if path.suffix != ".json"]
    assert sorted(blobs) == sorted({layer.hex for layer in image.layers[1:]})
    assert left_behind(tmp_path / "blobs") == []


RUN = "FROM debian-sid\nRUN true\n"


@pytest.mark.parametrize(
    ("dockerfile", "line"),
    [
        (DOCKERFILE, 0),
        (RUN, 2),
        ("FROM --platform=$BUILDPLATFORM a AS b\nRUN true\nFROM c\nCOPY --from=b / /\n", 0),
        ("FROM --platform=$BUILDPLATFORM a AS b\nFROM b\nRUN true\n", 0),
        ("FROM --platform=$BUILDPLATFORM a AS b\nFROM c AS d\nFROM d\nRUN true\n", 4),
        ("ARG X=1\nFROM --platform=linux/ppc64le a\nRUN true\n", 3),
        ("", 0),
    ],
)
def test_a_run_of_another_machine_is_seen_in_the_dockerfile(dockerfile: str, line: int) -> None:
    other = next(one for one in PLATFORMS if one.name != machine.machine())
    assert emulated_run(dockerfile, other) == line


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("enabled\ninterpreter /q\nflags: F\noffset 0\nmagic {magic}\nmask {mask}\n", True),
        ("enabled\ninterpreter /q\nflags: POCF\noffset 0\nmagic {magic}\n", True),
        ("disabled\ninterpreter /q\nflags: F\noffset 0\nmagic {magic}\nmask {mask}\n", False),
        ("enabled\ninterpreter /q\nflags: \noffset 0\nmagic {magic}\nmask {mask}\n", False),
        ("enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 4a41\n", False),
        ("enabled\ninterpreter /q\nflags: F\nextension .jar\n", False),
        ("enabled", False),
    ],
)
def test_only_an_enabled_emulator_that_reaches_into_containers_counts(
    tmp_path: Path, text: str, answer: bool
) -> None:
    other = next(one for one in PLATFORMS if one.name != machine.machine())
    # The words of qemu's own registration, as the kernel tells them.
    number = other.elf_machine.to_bytes(2, "little").hex()
    magic, mask = f"7f454c4602010100000000000000000002 00{number}", "ffffffffffffff00fffffffffffffffffeffffff"
    (tmp_path / "qemu").write_text(text.format(magic=magic.replace(" ", ""), mask=mask))
    assert kernel_runs(other, tmp_path) is answer
    assert kernel_runs(platform(machine.machine()), tmp_path)


class Made:
    """An engine that knows what it lacks."""

    def __init__(self, name: str, lacks: str) -> None:
        self.name, self._lacks = name, lacks

    def lacks(self, dockerfile: str, target: Platform) -> str:
        return self._lacks if "RUN" in dockerfile else ""

    def build(self, recipe: Recipe, blobs: Path, **_options: Any) -> Image:
        raise AssertionError


ENGINES_MADE = {"a": Made("a", "it is small"), "b": Made("b", ""), "c": Made("c", "it is not here")}


def test_auto_takes_the_first_that_can_and_says_why_not_the_others() -> None:
    notes = Notes()
    assert choose_engine("auto", RUN, AARCH64, notes, ENGINES_MADE).name == "b"
    assert notes.said == ["Not built by a: it is small."]
    assert choose_engine("auto", "", AARCH64, notes, ENGINES_MADE).name == "a"
    assert len(notes.said) == 1


def test_an_engine_that_cannot_is_refused_with_its_reason() -> None:
    with pytest.raises(HostError, match=r"The engine c cannot be used: it is not here\."):
        choose_engine("c", RUN, AARCH64, Silent(), ENGINES_MADE)
    del (less := dict(ENGINES_MADE))["b"]
    with pytest.raises(HostError, match=r"No engine .* a: it is small\. c: it is not here\."):
        choose_engine("auto", RUN, AARCH64, Silent(), less)


def test_what_is_shipped_is_built_here_by_default() -> None:
    assert choose_engine("auto", DOCKERFILE, AARCH64, Silent()).name == "embedded"
    assert "line 2, RUN" in ENGINES["embedded"].lacks(RUN, AARCH64)


def path_with(monkeypatch: pytest.MonkeyPatch, place: Path, **programs: str) -> None:
    """A PATH that has nothing but these shell scripts."""
    place.mkdir()
    for name, script in programs.items():
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place))


SERVER = '{"Client":{"Version":"%s"},"Server":{"ApiVersion":"%s","Components":[{"Name":"%s"}]}}'
NO_PLUGIN = '[ "$1" = buildx ] && exit 1\n'


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "docker is not installed: as root, run `apt-get install"),
        (
            NO_PLUGIN
            + 'echo \'{"Client":{"Version":"20.10"},"Server":null}\'; echo "is it running?" >&2; exit 1',
            r"no Docker Engine answers \(is it running\?\): start one",
        ),
        (NO_PLUGIN + "echo broken", "no Docker Engine answers"),
        ('[ "$2" = inspect ] && echo "Driver:"; exit 0', "no Docker Engine answers"),
        (NO_PLUGIN + f"echo '{SERVER % ('20.10', '1.38', 'Engine')}'", "Engine has no BuildKit"),
        (
            NO_PLUGIN + f"echo '{SERVER % ('20.10', '1.41', 'Podman Engine')}'",
            "Podman Engine has no BuildKit",
        ),
        (
            NO_PLUGIN + f"echo '{SERVER % ('28.2.2', '1.41', 'Engine')}'",
            "docker 28.2.2 builds only with its plugin",
        ),
    ],
)
def test_what_docker_lacks_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, words: str
) -> None:
    path_with(monkeypatch, tmp_path / "bin", **({"docker": script} if script else {}))
    assert re.search(words, ENGINES["buildx"].lacks("", AARCH64))


def test_missing_emulation_is_foreseen_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = 'if [ "$2" = inspect ]; then echo Driver: remote; echo "Platforms: $MADE"; fi'
    path_with(monkeypatch, tmp_path / "bin", docker=answers)
    other = next(one for one in PLATFORMS if one.name != machine.machine())
    monkeypatch.setenv("MADE", "linux/made")
    told = ENGINES["buildx"].lacks(RUN, other)
    assert told.startswith(
        f"line 2 runs programs of {other.name}, here an 'exec format error': run `docker run"
    )
    assert ENGINES["buildx"].lacks(DOCKERFILE, other) == ""
    monkeypatch.setenv("MADE", f"linux/made, {other.oci_platform}*")
    assert ENGINES["buildx"].lacks(RUN, other) == ""


def test_podman_without_a_program_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path_with(monkeypatch, tmp_path / "bin")
    assert "neither buildah nor podman is installed" in ENGINES["podman"].lacks("", AARCH64)


@pytest.mark.parametrize("name", ["buildx", "podman"])
def test_a_base_for_another_machine_is_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path_with(monkeypatch, tmp_path / "bin")
    with pytest.raises(BuildError, match="debian-sid is for linux/amd64, but linux/arm64 is needed"):
        ENGINES[name].build(
            recipe(tmp_path, architecture="amd64"), tmp_path / "blobs", fast=False, progress=Silent()
        )
    assert list((tmp_path / "blobs").glob("*")) == []


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_dockerfile_that_fails_ends_in_one_sentence_and_leaves_nothing(
    way: str, engine: str, tmp_path: Path
) -> None:
    wrong = recipe(tmp_path, DOCKERFILE.replace("--from=native / /", "--from=native /gone /"))
    with pytest.raises(BuildError, match=r"pulsar\.Dockerfile: .*gone"):
        ENGINES[engine].build(wrong, tmp_path / "blobs", fast=False, progress=Silent())
    assert list((tmp_path / "blobs").iterdir()) == []
    assert left_behind(tmp_path / "blobs") == []


@pytest.mark.parametrize("way", WAYS[1:])
def test_any_dockerfile_can_be_built_with_a_folder_as_context(way: str, engine: str, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "hello").write_text("hello")
    notes = Notes()
    job = Job("made", "ARG WHO=me\nFROM scratch\nARG WHO\nCOPY hello /\nLABEL who=$WHO\n", context, AARCH64)
    image = build_dockerfile(
        replace(job, arguments={"WHO": "you"}), tmp_path / "b", engine=engine, progress=notes
    )
    image.validate()
    assert (image.platform, image.settings["config"]["Labels"]) == ("linux/arm64", {"who": "you"})
    assert [content for entry, content in tree(image).items() if entry.path == "hello"] == [b"hello"]
    assert any("COPY hello /" in line for line in notes.said)
    assert sorted(path.name for path in context.iterdir()) == ["hello"]


@pytest.mark.parametrize("way", WAYS[1:])
def test_ctrl_c_leaves_neither_image_nor_mount_nor_folder(
    way: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "slow"
    wrapper.mkdir()
    for name in ("docker", "buildah", "podman"):
        if program := shutil.which(name):
            # The real program, which has not ended when all its work is done.
            slow = f'{program} "$@" || exit; echo "[slow 1/1] STEP"; exec sleep 600'
            script = f'#!/bin/sh\ncase " $* " in *" build "*) {slow};; esac\nexec {program} "$@"\n'
            (wrapper / name).write_text(script)
            (wrapper / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper}:{os.environ['PATH']}")
    code = (
        "import sys; from pathlib import Path; from test_engines import *\n"
        "from pulsar_arm.host.progress import Terminal\n"
        f"where = Path({str(tmp_path)!r})\n"
        f"ENGINES[{engine!r}].build(recipe(where), where / 'blobs', fast=False, progress=Terminal())\n"
    )
    paths = f"{Path(__file__).parent}:{Path(__file__).parent.parent}"
    environment = {**os.environ, "PYTHONPATH": paths}
    running = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert running.stderr
        assert any("[slow 1/1]" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        _out, said = running.communicate(timeout=120)
    finally:
        running.kill()
    assert "KeyboardInterrupt" in said
    assert left_behind(tmp_path / "blobs") == []
