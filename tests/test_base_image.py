from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from builders_oci import file, image_of

from pulsar_arm.base_definition import (
    IMAGE,
    NEEDED,
    PACKAGES,
    KnownBase,
    base_names,
    find_base,
    managers,
    read_image_definition,
)
from pulsar_arm.base_prepared import prepared_base, render_base
from pulsar_arm.errors import BuildError, CatalogError, HostError, UsageError
from pulsar_arm.formats.dockerfile import Dockerfile, read_dockerfile
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64, X86_64, Platform

SHIPPED = Path(__file__).parents[1] / "dockerfiles" / "bases"
MADE = """
schema = 1
kind = "image"
summary = "A made system"
reference = "registry.example.com/made:{jre}"
manager = "apt"
libc = "glibc-2.31"
[programs]
bash = ""
curl = "curl"
kazoo = "python3-kazoo"
less = "less"
nc = "netcat-openbsd"
nslookup = "dnsutils"
ping = "iputils-ping"
ps = "procps"
python = "python3"
yaml = "python3-yaml"
[[jre]]
release = 17
packages = ["jre-{jre}-{architecture}"]
java_home = "/opt/jvm-{architecture}"
java_vendor = "Made"
"""
JAVA = [
    file("opt/jvm-arm64/lib/server/libjvm.so"),
    file("lib/aarch64-linux-gnu/libc.so.6", b"GNU C Library (Made) stable release version 2.31.\n"),
]


def known(name: str) -> KnownBase:
    found = find_base(name)
    assert found is not None
    return found


def made(folder: Path, text: str = MADE) -> KnownBase:
    path = folder / "made.toml"
    path.write_text(text)
    return known(str(path))


def images() -> list[tuple[str, int]]:
    """Every shipped base that starts from an image, with each of its Java releases."""
    found = []
    for name in base_names():
        base = known(name)
        if base.kind == IMAGE:
            releases = re.findall(r"^release = ([0-9]+)$", base.path.read_text(), re.MULTILINE)
            found += [(name, int(release)) for release in releases]
    return found


def test_the_shipped_bases_are_the_files_of_the_folder() -> None:
    assert base_names() == (
        "alpine",
        "debian",
        "kylin",
        "openeuler-20.03",
        "openeuler-22.03",
        "openeuler-24.03",
        "temurin",
        "ubuntu",
    )
    assert known("debian").kind == PACKAGES
    assert managers() == ("apk", "apt", "dnf")


@pytest.mark.parametrize("target", [AARCH64, X86_64], ids=lambda platform: platform.name)
@pytest.mark.parametrize(("name", "jre"), images())
def test_a_shipped_base_holds_and_its_dockerfile_is_understood(name: str, jre: int, target: Platform) -> None:
    base = find_base(f"{name}=registry.example.com/os:1")
    assert base is not None
    definition = read_image_definition(base, jre, target)
    assert definition.reference == "registry.example.com/os:1"
    arguments = {"BUILDPLATFORM": "linux/s390x"}
    dockerfile = read_dockerfile(render_base(definition, target), name, arguments)
    system, download, last = dockerfile.stages
    assert (system.name, system.platform, system.instructions) == ("system", "", ())
    assert (download.name, download.platform) == ("download", "linux/s390x")
    assert (last.base, last.platform) == ("system", "")
    # What is emulated is one step: no list is fetched and no package chosen in it.
    (step,) = runs(dockerfile)
    assert "update" not in step
    fetched = " ".join(one.text for one in download.instructions).split()
    assert set(definition.packages) <= set(fetched)
    assert {f"{name} --hash=sha256:{sha256}" in " ".join(fetched) for name, sha256 in definition.wheels} <= {
        True
    }
    assert "{" + "jre}" not in step + definition.java_home
    environment = {w for one in last.instructions if one.keyword == "ENV" for w in one.words}
    assert f"JAVA_HOME={definition.java_home}" in environment
    assert any(word.startswith(f"PATH={definition.java_home}/bin:") for word in environment)
    assert {f"{key}={value}" for key, value in definition.environment} <= environment


def runs(dockerfile: Dockerfile) -> list[str]:
    return [one.text for one in dockerfile.stages[-1].instructions if one.keyword == "RUN"]


def test_a_base_names_packages_in_the_managers_spelling_of_the_machine(tmp_path: Path) -> None:
    definition = read_image_definition(made(tmp_path), 17, AARCH64)
    assert definition.reference == "registry.example.com/made:17"
    assert definition.java_home == "/opt/jvm-arm64"
    assert "jre-17-arm64" in definition.packages
    assert "" not in definition.packages
    assert read_image_definition(known("ubuntu"), 8, X86_64).java_home.endswith("-amd64")
    assert read_image_definition(known("openeuler-20.03"), 8, AARCH64).architecture == "aarch64"


def test_an_image_that_is_named_behind_the_base_is_where_it_starts(tmp_path: Path) -> None:
    base = find_base("kylin=registry.example.com:5000/kylin:v10")
    assert base is not None
    assert read_image_definition(base, 8, AARCH64).reference == "registry.example.com:5000/kylin:v10"
    with pytest.raises(UsageError, match=r"kylin names no image to start from: give --base kylin=IMAGE"):
        read_image_definition(known("kylin"), 8, AARCH64)
    with pytest.raises(UsageError, match="name an image after the ="):
        find_base("kylin=")


def test_an_unknown_base_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--base debain is not known: .* alpine, debian, .*ubuntu"):
        find_base("debain")
    with pytest.raises(UsageError, match="there is no such file"):
        find_base("mine.toml")
    for image in (str(tmp_path), "registry.example.com/os", "os:1", "./os"):
        assert find_base(image) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "made.toml: schema must be 1"),
        ('kind = "image"', 'kind = "vm"', "kind is 'vm', but must be one of image"),
        ('manager = "apt"', 'manager = "pacman"', "manager is 'pacman', but must be one of apk, apt, dnf"),
        ("glibc-2.31", "uclibc", "libc must have the form"),
        ('nslookup = "dnsutils"', "", r"\[programs\] must name the packages of .*; nslookup is missing"),
        ('less = "less"', 'less = "less"\nvim = "vim"', "vim is not among them"),
        ("[programs]", 'colour = "red"\n[programs]', "the key colour is not known"),
        ("release = 17", "release = 17\nsize = 1", "the key size is not known"),
        ("[[jre]]", '[wheels]\n"kazoo" = "x"\n[[jre]]', r"\[wheels\] wants"),
        ('java_vendor = "Made"', "", "java_vendor must be a text"),
    ],
)
def test_what_is_wrong_in_a_base_is_told_with_its_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MADE
    base = made(tmp_path, MADE.replace(old, new))
    with pytest.raises(CatalogError, match=message):
        read_image_definition(base, 17, AARCH64)


def test_a_java_release_that_a_base_lacks_is_told_with_those_it_has() -> None:
    with pytest.raises(UsageError, match=r"openeuler-20\.03 has no Java 21.* but 8, 11"):
        read_image_definition(known("openeuler-20.03"), 21, AARCH64)


def test_every_program_is_proved_in_the_image_itself() -> None:
    definition = read_image_definition(known("ubuntu"), 17, AARCH64)
    (step,) = runs(read_dockerfile(render_base(definition, AARCH64), "x", {"BUILDPLATFORM": "linux/s390x"}))
    for program in set(NEEDED) - {"kazoo", "yaml"}:
        assert program in step.split("for program in ")[1].split("; do")[0].split()
    assert "import yaml, kazoo" in step


class Built:
    """A builder that gives an image with what `entries` say, and counts."""

    def __init__(self, entries: list[LayerEntry], home: str = "/opt/jvm-arm64") -> None:
        self.entries, self.home, self.texts = entries, home, list[str]()

    def __call__(self, name: str, dockerfile: str, blobs: Path) -> Image:
        self.texts.append(dockerfile)
        config = {"Env": [f"JAVA_HOME={self.home}"]}
        return image_of(blobs, self.entries, config=config)


def test_a_prepared_base_is_built_once_and_kept(tmp_path: Path) -> None:
    definition = read_image_definition(made(tmp_path), 17, AARCH64)
    build = Built(JAVA)
    first, again = (
        prepared_base(definition, AARCH64, tmp_path / "cache", build, progress=Silent()) for _ in range(2)
    )
    assert build.texts == [render_base(definition, AARCH64)]
    assert (first.name, first.libc, first.java_home) == ("made-jre17", "glibc-2.31", "/opt/jvm-arm64")
    assert first.java_vendor == "Made"
    assert again == first
    again.image.validate()
    assert json.loads(again.package_list)["base"] == "made-jre17"
    prepared_base(definition, AARCH64, tmp_path / "cache", build, refresh=True, progress=Silent())
    assert len(build.texts) == 2


def test_an_image_of_another_libc_than_was_said_is_told_and_counts(tmp_path: Path) -> None:
    definition = read_image_definition(made(tmp_path, MADE.replace("2.31", "2.28")), 17, AARCH64)
    notes: list[str] = []

    class Noting(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    base = prepared_base(definition, AARCH64, tmp_path / "cache", Built(JAVA), progress=Noting())
    assert base.libc == "glibc-2.31"
    assert any("made.toml says glibc-2.28" in note and "has glibc-2.31" in note for note in notes)


def test_offline_nothing_is_built(tmp_path: Path) -> None:
    definition = read_image_definition(made(tmp_path), 17, AARCH64)
    build: Callable[[str, str, Path], Image] = Built(JAVA)
    with pytest.raises(HostError, match="cannot be fetched offline"):
        prepared_base(definition, AARCH64, tmp_path / "cache", build, offline=True, progress=Silent())
    with pytest.raises(BuildError, match="has no C library"):
        prepared_base(definition, AARCH64, tmp_path / "cache", Built(JAVA[:1]), progress=Silent())
