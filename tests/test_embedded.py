from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from builders_oci import CREATED, file, folder, hardlink, image_of, symlink, tar_of

from pulsar_arm.engines import ENGINES
from pulsar_arm.engines.paths import known_paths
from pulsar_arm.errors import BuildError, InputError
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.root import root_entries, root_paths
from pulsar_arm.host.progress import Silent
from pulsar_arm.image import Recipe
from pulsar_arm.platforms import AARCH64

DOCKER = shutil.which("/usr/bin/docker") or shutil.which("docker")
BASE = [
    *(folder("etc"), file("etc/passwd", b"root"), folder("tmp", 0o1777), folder("srv", 0o700, 5, 5)),
    *(folder("usr"), folder("usr/lib"), symlink("lib", "usr/lib")),
]
THIRD = [
    *(folder("pulsar", 0o2775, 10000), folder("pulsar/lib", 0o775, 10000)),
    *(
        file("pulsar/lib/netty.jar", b"netty", 0o644, 10000),
        hardlink("pulsar/lib/again.jar", "pulsar/lib/netty.jar"),
    ),
]
NATIVE = [
    *(folder("pulsar", 0o2775, 10000), folder("pulsar/lib", 0o775, 10000)),
    file("pulsar/lib/rocksdb.jar", b"rocks", 0o644, 10000),
]
PULSAR = """FROM scratch AS third-party
ADD third-party.tar /
FROM scratch AS native
ADD native.tar /
FROM base
COPY --from=third-party / /
COPY --from=native / /
LABEL org.opencontainers.image.version="2.6.0" team=a
ENV PULSAR_ROOT_LOGGER=INFO,CONSOLE
WORKDIR /pulsar
USER 10000
"""


def build(
    dockerfile: str,
    where: Path,
    *,
    base: Image | None = None,
    context: Mapping[str, Iterable[LayerEntry]] | None = None,
    fast: bool = False,
) -> Image:
    tars = {"third-party.tar": THIRD, "native.tar": NATIVE} if context is None else context
    recipe = Recipe(
        name="pulsar",
        platform=AARCH64,
        dockerfile=dockerfile,
        context={name: tuple(entries) for name, entries in tars.items()},
        images={"base": base or image_of(where / "base", BASE, config={"Env": ["PATH=/bin"], "Cmd": ["sh"]})},
        created=CREATED,
    )
    image = ENGINES["embedded"].build(recipe, where / "blobs", fast=fast, progress=Silent())
    image.validate()
    return image


def last_layer(image: Image) -> dict[str, LayerEntry]:
    return root_paths(Image(image.config, image.layers[-1:]))


def from_tree(tree: Iterable[LayerEntry], instructions: str, where: Path) -> Image:
    """A build that copies out of one stage, `tree`, onto the base."""
    return build(
        f"FROM scratch AS tree\nADD t.tar /\nFROM base\n{instructions}", where, context={"t.tar": tree}
    )


def test_each_copy_of_the_last_stage_is_one_layer_on_the_base(tmp_path: Path) -> None:
    base = image_of(tmp_path / "base", BASE)
    image = build(PULSAR, tmp_path, base=base)
    assert image.layers[:1] == base.layers
    assert len(image.layers) == 3
    assert image.platform == "linux/arm64"
    assert last_layer(image)["pulsar/lib/rocksdb.jar"].uid == 10000
    assert {"etc/passwd", "pulsar/lib/netty.jar", "pulsar/lib/rocksdb.jar"} < set(root_paths(image))


def test_the_config_says_what_the_dockerfile_says(tmp_path: Path) -> None:
    settings = build(
        PULSAR + 'EXPOSE 6650 8080/tcp\nVOLUME /d\nSTOPSIGNAL SIGTERM\nCMD ["bin/pulsar"]\n', tmp_path
    ).settings
    assert settings["config"] == {
        "Env": ["PATH=/bin", "PULSAR_ROOT_LOGGER=INFO,CONSOLE"],
        "Labels": {"org.opencontainers.image.version": "2.6.0", "team": "a"},
        "WorkingDir": "/pulsar",
        "User": "10000",
        "ExposedPorts": {"6650/tcp": {}, "8080/tcp": {}},
        "Volumes": {"/d": {}},
        "StopSignal": "SIGTERM",
        "Cmd": ["bin/pulsar"],
    }
    assert settings["created"] == CREATED
    told = [(step.get("created_by"), step.get("empty_layer", False)) for step in settings["history"]]
    assert told[1:3] == [("COPY --from=third-party / /", False), ("COPY --from=native / /", False)]
    assert told[5] == ("WORKDIR /pulsar", True)


def test_an_entrypoint_drops_the_command_of_the_base(tmp_path: Path) -> None:
    config = build("FROM base\nENTRYPOINT exec java", tmp_path).settings["config"]
    assert config["Entrypoint"] == ["/bin/sh", "-c", "exec java"]
    assert "Cmd" not in config
    config = build('FROM base\nCMD ["a"]\nENTRYPOINT ["b"]', tmp_path).settings["config"]
    assert (config["Cmd"], config["Entrypoint"]) == (["a"], ["b"])


def test_two_builds_in_two_folders_have_one_digest(tmp_path: Path) -> None:
    first, second = (build(PULSAR, tmp_path / name) for name in "ab")
    assert first.digest == second.digest
    fast = build(PULSAR, tmp_path / "c", fast=True)
    assert fast.settings["rootfs"] == first.settings["rootfs"]


def test_hard_links_stay_links(tmp_path: Path) -> None:
    kinds = {one.entry.path: one.entry.kind for one in root_entries(build(PULSAR, tmp_path))}
    assert sorted((kinds["pulsar/lib/again.jar"], kinds["pulsar/lib/netty.jar"])) == ["file", "hardlink"]


def test_a_hard_link_without_its_first_name_becomes_a_file(tmp_path: Path) -> None:
    tree = [file("a", b"content", 0o755, 7), hardlink("d/b", "a"), hardlink("d/c", "a")]
    image = from_tree(tree, "COPY --from=tree /d /e/", tmp_path)
    found = {one.entry.path: (one.entry, one.content and one.content.read()) for one in root_entries(image)}
    assert (found["e/b"][0].mode, found["e/b"][0].uid, found["e/b"][1]) == (0o755, 7, b"content")
    assert found["e/c"][0].link == "e/b"


# What BuildKit of Docker 20.10.24 did with the same instructions.
@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("COPY --from=tree /d /dest", {"dest": "755 0:0", "dest/f": "604 4:4", "dest/s": "710 6:6"}),
        ("COPY --from=tree /d/f /new/file", {"new": "755 0:0", "new/file": "604 4:4"}),
        ("COPY --from=tree /d/f /new/dir/", {"new": "755 0:0", "new/dir": "755 0:0", "new/dir/f": "604 4:4"}),
        ("COPY --from=tree /d/f /srv", {"srv": "700 5:5", "srv/f": "604 4:4"}),
        ("COPY --from=0 d/f h m/", {"m": "755 0:0", "m/f": "604 4:4", "m/h": "604 4:4"}),
        (
            "COPY --from=tree --chown=9:8 /d /own/er",
            {"own": "755 9:8", "own/er": "755 9:8", "own/er/f": "604 9:8", "own/er/s": "710 9:8"},
        ),
        (
            "COPY --from=tree --chmod=600 /d /mod",
            {"mod": "755 0:0", "mod/f": "600 4:4", "mod/s": "600 6:6"},
        ),
        ("WORKDIR /w\nCOPY --from=tree /d/f g", {"w": "755 0:0", "w/g": "604 4:4"}),
        ("ADD t.tar /srv/x", {"srv": "700 5:5", "srv/x": "755 0:0", "srv/x/d": "711 4:4"}),
        ("USER 77\nWORKDIR /a/b", {"a": "755 77:77", "a/b": "755 77:77"}),
        ("COPY --from=tree /over /", {"tmp": "755 3:3"}),
    ],
)
def test_files_land_as_buildkit_puts_them(tmp_path: Path, instruction: str, expected: dict[str, str]) -> None:
    tree = [
        *(folder("d", 0o711, 4, 4), file("d/f", b"f", 0o604, 4, 4), folder("d/s", 0o710, 6, 6)),
        *(hardlink("h", "d/f"), folder("over"), folder("over/tmp", 0o755, 3, 3)),
    ]
    layer = last_layer(from_tree(tree, instruction, tmp_path))
    found = {path: f"{entry.mode:o} {entry.uid}:{entry.gid}" for path, entry in layer.items()}
    assert {path: found.get(path) for path in expected} == expected


def test_a_work_folder_that_is_there_makes_no_layer(tmp_path: Path) -> None:
    assert len(build("FROM base\nWORKDIR /etc\nWORKDIR /\n", tmp_path).layers) == 1


def test_a_stage_may_start_from_another(tmp_path: Path) -> None:
    text = "FROM base AS a\nADD native.tar /\nENV X=1\nFROM a\nADD third-party.tar /\nENV Y=${X}2\n"
    image = build(text, tmp_path)
    assert len(image.layers) == 3
    assert image.settings["config"]["Env"] == ["PATH=/bin", "X=1", "Y=12"]


def test_a_child_contains_the_layers_of_its_parent(tmp_path: Path) -> None:
    parent = build(PULSAR, tmp_path)
    child = build(
        "FROM base\nADD c.tar /", tmp_path, base=parent, context={"c.tar": [file("pulsar/connectors/k.nar")]}
    )
    assert child.layers[:3] == parent.layers
    assert last_layer(child)["pulsar"].mode == 0o2775
    assert child.settings["config"] == parent.settings["config"]


def test_a_base_without_history_gets_one(tmp_path: Path) -> None:
    base = image_of(tmp_path / "base", BASE)
    settings = base.settings
    del settings["history"]
    build(PULSAR, tmp_path, base=Image(json.dumps(settings).encode(), base.layers))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "FROM base\n\nRUN apt-get update",
            r"pulsar.Dockerfile:3: RUN needs the image's own programs; use the buildx",
        ),
        ("FROM base\nHEALTHCHECK NONE", r":2: HEALTHCHECK is not understood"),
        ("FROM other", r":1: FROM names other, but the images at hand are: base"),
        ("FROM --platform=linux/amd64 base", r":1: base is for linux/amd64, but linux/arm64 is needed"),
        (
            "FROM base\nADD x.tar /",
            r":2: x.tar is not in the build context, which has native.tar, third-party.tar",
        ),
        ("FROM base\nADD --chown=1:1 native.tar /", r":2: ADD --chown is not understood"),
        ("FROM base\nCOPY native.tar /", r":2: COPY takes files from an earlier stage only"),
        (
            "FROM base AS a\nFROM base\nCOPY --from=a /etc /x",
            r":3: COPY out of a stage that starts from an image",
        ),
        ("FROM scratch AS a\nFROM base\nCOPY --from=a *.jar /x", r":3: the wildcard \*.jar"),
        ("FROM scratch AS a\nFROM base\nCOPY --from=a /gone /x", r":3: /gone is not there"),
        ("FROM scratch AS a\nFROM base\nCOPY --from=a --link / /x", r":3: COPY --link is not understood"),
        ("FROM scratch AS a\nFROM base\nCOPY --from=a --chown=me / /x", r":3: the owner me is a name"),
        ("FROM scratch AS a\nFROM base\nCOPY --from=a --chmod=u+x / /x", r":3: the mode u\+x is not octal"),
        (
            "FROM scratch AS a\nADD native.tar /lib\nFROM base\nCOPY --from=a / /",
            r":4: /lib is no folder in the image",
        ),
        ("FROM base\nADD native.tar /etc/passwd", r":2: /etc/passwd is no folder in the image"),
        ("FROM base\nWORKDIR /etc/passwd", r":2: WORKDIR /etc/passwd is a file"),
        ("FROM base\nUSER pulsar\nWORKDIR /new", r":3: the owner pulsar is a name"),
        ("FROM base\nEXPOSE 80-90", r":2: EXPOSE wants a port"),
        ("FROM base\nCOPY /x", r":2: COPY "),
    ],
)
def test_what_it_cannot_do_is_refused_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        build(text, tmp_path)
    assert not [one for one in tmp_path.glob("blobs/*") if one.suffix != ".json"]


def test_a_base_for_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="base is for linux/amd64, but linux/arm64 is needed"):
        build("FROM base", tmp_path, base=image_of(tmp_path, BASE, architecture="amd64"))


def test_a_file_that_vanished_leaves_no_half_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        build("FROM base\nADD a.tar /", tmp_path, context={"a.tar": [file("a", tmp_path / "gone")]})
    assert not [one for one in tmp_path.glob("blobs/*") if one.suffix != ".json"]


def test_the_tree_of_an_image_is_remembered_truly(tmp_path: Path) -> None:
    parent = build(PULSAR, tmp_path)
    blobs = tmp_path / "blobs"
    assert known_paths(parent, blobs) == root_paths(parent)
    for remembered in blobs.glob("*.json"):
        remembered.write_text("damaged")
    assert known_paths(parent, blobs) == root_paths(parent)
    assert known_paths(parent, tmp_path / "elsewhere") == root_paths(parent)


def test_a_hard_link_keeps_its_content_when_its_first_name_is_replaced(tmp_path: Path) -> None:
    context = {
        "t.tar": [file("a", b"old", 0o755), hardlink("b", "a"), hardlink("c", "a")],
        "n.tar": [file("a", b"new")],
    }
    text = "FROM scratch AS t\nADD t.tar /\nADD n.tar /\nFROM base\nCOPY --from=t / /x/\n"
    image = build(text, tmp_path, context=context)
    found = {
        one.entry.path: (one.entry.link, one.content and one.content.read()) for one in root_entries(image)
    }
    assert (found["x/a"], found["x/b"], found["x/c"]) == (("", b"new"), ("", b"old"), ("x/b", None))
    one_stage = build("FROM base\nADD t.tar /\nADD n.tar /\n", tmp_path, context=context)
    assert known_paths(one_stage, tmp_path / "blobs") == root_paths(one_stage)


def _docker_answers() -> bool:
    return (
        DOCKER is not None
        and subprocess.run([DOCKER, "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def docker_name() -> Iterable[str]:
    if not _docker_answers():
        pytest.skip("no Docker Engine answers")
    name = f"pulsar-arm-test:{os.getpid()}"
    yield name
    subprocess.run([str(DOCKER), "rmi", "-f", name], capture_output=True, check=False)


def test_docker_loads_the_image_and_sees_the_same_config(tmp_path: Path, docker_name: str) -> None:
    image = build(PULSAR, tmp_path)
    write_archive(image, tmp_path / "a.tar", docker_name)
    subprocess.run([str(DOCKER), "load", "-i", tmp_path / "a.tar"], check=True, capture_output=True)
    (seen,) = json.loads(subprocess.check_output([str(DOCKER), "inspect", docker_name]))
    assert (seen["Id"], seen["Architecture"], seen["Os"]) == (image.config_digest, "arm64", "linux")
    assert (seen["Config"]["User"], seen["Config"]["WorkingDir"]) == ("10000", "/pulsar")
    assert seen["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]


def test_buildkit_makes_the_same_tree_and_config(tmp_path: Path, docker_name: str) -> None:
    text = PULSAR.replace("FROM base\n", "FROM scratch\nADD base.tar /\n")
    context = {"third-party.tar": THIRD, "native.tar": NATIVE, "base.tar": BASE}
    ours = build(text, tmp_path, context=context)
    folder_ = tmp_path / "context"
    folder_.mkdir()
    (folder_ / "Dockerfile").write_text(text)
    for name, entries in context.items():
        (folder_ / name).write_bytes(tar_of(entries))
    command = [str(DOCKER), "build", "-q", "--platform", "linux/arm64", "-t", docker_name, folder_]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    subprocess.run([str(DOCKER), "save", docker_name, "-o", tmp_path / "d.tar"], check=True)
    theirs = read_image(tmp_path / "d.tar", AARCH64)
    trees = [
        {one.entry: one.content and one.content.read() for one in root_entries(image)}
        for image in (ours, theirs)
    ]
    assert trees[0] == trees[1]
    config = {key: value for key, value in theirs.settings["config"].items() if value is not None}
    assert ours.settings["config"] == config
