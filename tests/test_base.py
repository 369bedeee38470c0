from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from builders import elf_head
from builders_base import certificate, deb, system
from builders_oci import file, image_of, members_of, tar_of

from pulsar_arm.base import debian_base, image_base
from pulsar_arm.base_store import Base
from pulsar_arm.debian_definition import Definition, read_definition
from pulsar_arm.debian_root import make_root
from pulsar_arm.errors import BuildError, CatalogError, HostError, InputError, UsageError
from pulsar_arm.formats.deb import read_control, read_files
from pulsar_arm.formats.jks import write_truststore
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci_archive import write_archive, write_layout
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64, X86_64

SHIPPED = Path(__file__).parents[1] / "dockerfiles" / "bases" / "debian.toml"
HOME = "usr/lib/jvm/java-8-openjdk-arm64"


@pytest.fixture
def definition() -> Definition:
    return read_definition(SHIPPED, 8, AARCH64)


def root_of(packages: list[Path], definition: Definition, folder: Path) -> dict[str, LayerEntry]:
    files = folder / "files"
    files.mkdir()
    return {entry.path: entry for entry in make_root(packages, definition, files)}


def content_of(entry: LayerEntry) -> bytes:
    return entry.source.read_bytes() if isinstance(entry.source, Path) else entry.source or b""


# The definition


@pytest.mark.parametrize("jre", [8, 11, 17, 21])
def test_the_shipped_definition_has_every_java_release_that_pulsar_needs(jre: int) -> None:
    definition = read_definition(SHIPPED, jre, AARCH64)
    assert f"openjdk-{jre}-jre-headless" in definition.packages
    assert definition.java_home == f"/usr/lib/jvm/java-{jre}-openjdk-arm64"
    assert ("JAVA_HOME", definition.java_home) in definition.env
    assert "{" not in repr(definition)


def test_the_definition_follows_the_platform() -> None:
    assert read_definition(SHIPPED, 17, X86_64).java_home == "/usr/lib/jvm/java-17-openjdk-amd64"


def test_an_unknown_java_release_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="8, 11, 17, 21"):
        read_definition(SHIPPED, 9, AARCH64)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("java_vendor =", "java_vendors =", "lacks the key `java_vendor`"),
        ('suites = ["bookworm"]', 'suites = ["bookworm"]\nmirror = "x"', "unknown key `mirror`"),
        ('suites = ["bookworm"]', 'suites = "bookworm"', "`suites` must be a list"),
        ('java_vendor = "Debian"', "java_vendor = 1", "`java_vendor` must be text"),
        ("[links]", "[[links]]", "`links` must be a table"),
        ("[env]", "[env", "cannot be read"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "debian.toml"
    text = SHIPPED.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CatalogError, match=words):
        read_definition(path, 17, AARCH64)


# Packages


def test_a_package_tells_its_fields_and_files(tmp_path: Path) -> None:
    path = deb(tmp_path, "x", {"usr": None, "usr/x": b"content"}, fields="Multi-Arch: same\n")
    control = read_control(path)
    assert (control.field("package"), control.field("Multi-Arch"), control.field("Pre-Depends")) == (
        "x",
        "same",
        "",
    )
    found = [(member.name, content.read() if content else None) for member, content in read_files(path)]
    assert found == [("./usr", None), ("./usr/x", b"content")]


@pytest.mark.parametrize("cut", [4, 70, 200, -30])
def test_a_package_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = deb(tmp_path, "x", {"usr/x": bytes(range(256)) * 99})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"x_1\.0-1_arm64\.deb"):
        list(read_files(path))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb to compare with")
def test_dpkg_reads_the_packages_that_the_tests_make(tmp_path: Path) -> None:
    path = deb(tmp_path, "x", {"usr/x": b"content"})
    listed = subprocess.run(["dpkg-deb", "--contents", path], check=True, capture_output=True, text=True)
    assert "./usr/x" in listed.stdout


# The root


def test_the_root_has_a_merged_usr(tmp_path: Path, definition: Definition) -> None:
    packages = [
        *system(tmp_path),
        deb(tmp_path, "bash", {"bin": None, "bin/bash": b"bash", "bin/rbash": "= bin/bash"}),
    ]
    root = root_of(packages, definition, tmp_path)
    assert (root["bin"].kind, root["bin"].link) == ("symlink", "usr/bin")
    assert root["usr/bin/bash"].kind == "file"
    assert (root["usr/bin/rbash"].kind, root["usr/bin/rbash"].link) == ("hardlink", "usr/bin/bash")
    assert "usr/lib/aarch64-linux-gnu/libc.so.6" in root
    assert not any(path.startswith(("bin/", "lib/")) for path in root)


def test_documentation_is_left_out_but_not_the_copyright(tmp_path: Path, definition: Definition) -> None:
    kept = {
        "usr/share/doc/x/copyright": b"c",
        "usr/share/doc/x/README": b"r",
        "usr/share/man/man1/x.1.gz": b"m",
    }
    root = root_of([*system(tmp_path), deb(tmp_path, "x", dict(kept))], definition, tmp_path)
    assert [path for path in kept if path in root] == ["usr/share/doc/x/copyright"]


def test_the_user_of_the_image_has_a_name(tmp_path: Path, definition: Definition) -> None:
    root = root_of(system(tmp_path), definition, tmp_path)
    last = content_of(root["etc/passwd"]).decode().splitlines()[-1]
    assert last == "pulsar:*:10000:0:Apache Pulsar:/pulsar:/bin/bash"
    assert content_of(root["etc/group"]) == b"root:*:0:\n"


def test_java_is_reached_through_alternatives(tmp_path: Path, definition: Definition) -> None:
    root = root_of(system(tmp_path), definition, tmp_path)
    assert root["usr/bin/java"].link == "/etc/alternatives/java"
    assert root["etc/alternatives/java"].link == f"/{HOME}/jre/bin/java"
    assert "usr/bin/nc" not in root


def test_java_forgets_addresses_soon(tmp_path: Path, definition: Definition) -> None:
    root = root_of(system(tmp_path), definition, tmp_path)
    security = content_of(root["etc/java-8-openjdk/security/java.security"])
    assert security == b"a=b\nnetworkaddress.cache.ttl=1\nnetworkaddress.cache.negative.ttl=1\n"


def test_certificates_are_bundled_for_openssl_and_for_java(tmp_path: Path, definition: Definition) -> None:
    root = root_of(system(tmp_path), definition, tmp_path)
    bundle = content_of(root["etc/ssl/certs/ca-certificates.crt"])
    assert bundle == certificate(b"first") + certificate(b"second")
    assert root["etc/ssl/certs/One.pem"].link == "/usr/share/ca-certificates/mozilla/One.crt"
    expected = write_truststore([("debian:One.pem", b"first"), ("debian:Two.pem", b"second")])
    assert content_of(root["etc/ssl/certs/java/cacerts"]) == expected


def test_a_truststore_holds_each_certificate_and_its_check() -> None:
    store = write_truststore([("b", b"BB"), ("a", b"A")])
    assert struct.unpack(">III", store[:12]) == (0xFEEDFEED, 2, 2)
    assert store[12:32] == struct.pack(">IH1sQH3s", 2, 1, b"a", 0, 5, b"X.509"[:3])
    secret = "changeit".encode("utf-16-be") + b"Mighty Aphrodite"
    assert store[-20:] == hashlib.sha1(secret + store[:-20]).digest()


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no dpkg to compare with")
def test_dpkg_itself_lists_the_packages_of_the_root(tmp_path: Path, definition: Definition) -> None:
    conffile = deb(
        tmp_path,
        "conf",
        {"etc/conf": b"x"},
        version="2:1.5-1",
        fields="Multi-Arch: same\n",
        control={"conffiles": b"/etc/conf\n", "postinst": b"#!/bin/sh\n", "md5sums": b""},
    )
    root = root_of([*system(tmp_path), conffile], definition, tmp_path)
    admin = tmp_path / "dpkg"
    for path, entry in root.items():
        if path.startswith("var/lib/dpkg/"):
            target = admin / path.removeprefix("var/lib/dpkg/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.mkdir(exist_ok=True) if entry.kind == "dir" else target.write_bytes(content_of(entry))
    ask = ["dpkg-query", f"--admindir={admin}"]
    shown = "${Package} ${Version} ${db:Status-Abbrev}${Conffiles}\n"
    listed = subprocess.run([*ask, "-W", "-f", shown], check=True, capture_output=True, text=True)
    assert listed.stderr == ""
    assert f"conf 2:1.5-1 ii  /etc/conf {hashlib.md5(b'x').hexdigest()}\n" in listed.stdout
    assert listed.stdout.count(" ii ") == 6
    files = subprocess.run([*ask, "-L", "conf:arm64"], check=True, capture_output=True, text=True)
    assert files.stdout == "/etc/conf\n"
    assert root["var/lib/dpkg/info/conf:arm64.postinst"].mode == 0o755


def test_the_order_of_the_packages_does_not_matter(tmp_path: Path, definition: Definition) -> None:
    packages = system(tmp_path)
    tars = []
    for number, order in enumerate((packages, packages[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        tars.append(tar_of(root_of(list(order), definition, folder).values()))
    assert tars[0] == tars[1]
    assert {member.mtime for member in members_of(tars[0])} == {0}


def test_a_root_that_lacks_a_necessary_package_is_said(tmp_path: Path, definition: Definition) -> None:
    with pytest.raises(BuildError, match=r"passwd\.master"):
        root_of(system(tmp_path)[:1], definition, tmp_path)


def test_a_pipe_in_a_package_is_refused(tmp_path: Path, definition: Definition) -> None:
    with pytest.raises(BuildError, match=r"run/pipe, a device or pipe"):
        root_of([*system(tmp_path), deb(tmp_path, "x", {"run/pipe": "a pipe"})], definition, tmp_path)


def test_a_package_that_leaves_the_root_is_refused(tmp_path: Path, definition: Definition) -> None:
    with pytest.raises(InputError, match="outside of the root"):
        root_of([*system(tmp_path), deb(tmp_path, "x", {"../../etc/passwd": b""})], definition, tmp_path)


# Making and keeping


@dataclass(frozen=True)
class Archive:
    """A Debian of a few packages: a mmdebstrap that runs its hooks, and an apt-get that has the packages."""

    packages: Path
    cache: Path

    def base(self, *, offline: bool = False, refresh: bool = False) -> Base:
        return debian_base(
            SHIPPED, 8, AARCH64, self.cache, offline=offline, refresh=refresh, progress=Silent()
        )


MMDEBSTRAP = """#!{python}
import os, subprocess, sys, tempfile
root = tempfile.mkdtemp()
for folder in ("etc/apt/sources.list.d", "etc/apt/preferences.d", "var/cache/apt/archives"):
    os.makedirs(os.path.join(root, folder))
open(root + "/etc/apt/sources.list", "w").write("deb [signed-by=x] test:/debian trixie main\\n")
os.environ["MMDEBSTRAP_APT_CONFIG"] = root
for kind in ("--setup-hook=", "--extract-hook="):
    for word in sys.argv:
        if word.startswith(kind):
            hook = ["sh", "-c", word.removeprefix(kind), "exec", root]
            if subprocess.run(hook).returncode:
                sys.exit("E: setup failed: hook")
"""
APT_GET = """#!/bin/sh
set -e
cat "$APT_CONFIG/etc/apt/sources.list.d/sid.list" "$APT_CONFIG/etc/apt/preferences.d/sid" > {packages}/seen
ls {packages}/*.deb > /dev/null 2>&1 || {{ echo 'E: Unable to locate package base-files' >&2; exit 100; }}
cp {packages}/*.deb "$APT_CONFIG/var/cache/apt/archives/"
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    programs, packages = tmp_path / "bin", tmp_path / "archive"
    programs.mkdir()
    packages.mkdir()
    system(packages)
    for name, text in {
        "mmdebstrap": MMDEBSTRAP.format(python=sys.executable),
        "apt-get": APT_GET.format(packages=packages),
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return Archive(packages, tmp_path / "cache")


def test_a_base_is_a_valid_image_for_the_target(archive: Archive) -> None:
    base = archive.base()
    base.image.validate()
    assert base.image.platform == "linux/arm64"
    assert (base.libc, base.java_home, base.java_vendor) == ("glibc-2.41", f"/{HOME}", "Debian")
    env = base.image.settings["config"]["Env"]
    assert f"JAVA_HOME=/{HOME}" in env
    assert "LANG=C.UTF-8" in env


def test_a_base_tells_its_packages_with_their_hashes(archive: Archive) -> None:
    base = archive.base()
    listed = json.loads(base.package_list)
    assert listed["image"] == base.image.digest
    assert [row["name"] for row in listed["packages"]] == sorted(row["name"] for row in listed["packages"])
    libc = next(row for row in listed["packages"] if row["name"] == "libc6")
    path = next(archive.packages.glob("libc6_*"))
    assert libc["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_later_suite_comes_from_the_same_mirror_and_serves_only_what_is_lacking(archive: Archive) -> None:
    archive.base()
    assert (archive.packages / "seen").read_text() == (
        "deb [signed-by=x] test:/debian sid main\nPackage: *\nPin: release n=sid\nPin-Priority: 100\n"
    )


def test_a_base_is_made_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    first = archive.base()
    monkeypatch.setenv("PATH", "/nowhere")
    assert archive.base() == first
    assert archive.base(offline=True) == first


def test_the_same_packages_give_the_same_digest_in_another_cache(archive: Archive, tmp_path: Path) -> None:
    elsewhere = replace(archive, cache=tmp_path / "elsewhere")
    assert archive.base().image.digest == elsewhere.base().image.digest


def test_refreshing_finds_new_packages_and_keeps_what_did_not_change(archive: Archive) -> None:
    first = archive.base()
    assert archive.base(refresh=True) == first
    next(archive.packages.glob("libc6_*")).unlink()
    system(archive.packages, libc="2.42-1")
    assert archive.base().libc == "glibc-2.41"
    second = archive.base(refresh=True)
    assert second.libc == "glibc-2.42"
    assert second.image.digest != first.image.digest


def test_offline_without_a_kept_base_is_said(archive: Archive) -> None:
    with pytest.raises(HostError, match="without --offline"):
        archive.base(offline=True)


def test_what_apt_says_is_told_and_nothing_is_left(archive: Archive) -> None:
    for package in archive.packages.glob("*.deb"):
        package.unlink()
    with pytest.raises(HostError, match="Unable to locate package base-files"):
        archive.base()
    assert [path.suffix for path in (archive.cache / "bases").iterdir()] == [".lock"]


def test_a_missing_mmdebstrap_is_said_with_the_command_that_brings_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match="apt-get install --no-install-recommends mmdebstrap"):
        archive.base()


def test_a_damaged_kept_base_is_said_with_its_folder(archive: Archive) -> None:
    archive.base()
    listed = next(archive.cache.glob("bases/*/packages.json"))
    listed.write_text("{")
    with pytest.raises(InputError, match="remove that folder"):
        archive.base()


def test_a_cache_that_cannot_be_written_is_said(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="choose another --cache"):
        replace(archive, cache=tmp_path / "file").base()


# An image as the base

LIBC = b"...GNU C Library (Debian GLIBC 2.31-13) stable release version 2.31.\n..."
STATUS = b"""Package: bash
Status: install ok installed
Architecture: arm64
Version: 5.1

Package: gone
Status: deinstall ok config-files
"""


def test_an_image_tells_java_libc_and_packages(tmp_path: Path) -> None:
    system_layer = [file("lib/aarch64-linux-gnu/libc-2.31.so", LIBC), file("var/lib/dpkg/status", STATUS)]
    java = [
        file("opt/java/release", b'IMPLEMENTOR="Eclipse Adoptium"\n'),
        file("opt/java/lib/server/libjvm.so"),
    ]
    write_layout(image_of(tmp_path / "blobs", system_layer, java), tmp_path / "base")
    base = image_base(tmp_path / "base", AARCH64)
    assert (base.name, base.libc, base.java_home) == ("base", "glibc-2.31", "/opt/java")
    assert base.java_vendor == "Eclipse Adoptium"
    assert [(package.name, package.version) for package in base.packages] == [("bash", "5.1")]


def test_java_home_of_the_image_is_believed_and_musl_is_known(tmp_path: Path) -> None:
    config = {"Env": ["PATH=/bin", "JAVA_HOME=/opt/jvm"]}
    image = image_of(tmp_path / "blobs", [file("lib/ld-musl-aarch64.so.1")], config=config)
    write_archive(image, tmp_path / "base.tar", "base:1")
    base = image_base(tmp_path / "base.tar", AARCH64)
    assert (base.java_home, base.libc) == ("/opt/jvm", "musl")


def test_an_image_for_another_machine_is_refused(tmp_path: Path) -> None:
    write_layout(image_of(tmp_path / "blobs", [file("x")], architecture="amd64"), tmp_path / "base")
    with pytest.raises(InputError, match="linux/amd64, but linux/arm64 is needed"):
        image_base(tmp_path / "base", AARCH64)


@pytest.mark.parametrize("library", ["lib/ld-musl-aarch64.so.1", "usr/lib/aarch64-linux-gnu/libc.so.6"])
def test_an_amd64_system_under_the_name_of_arm64_is_refused(tmp_path: Path, library: str) -> None:
    java = file("opt/java/lib/server/libjvm.so")
    write_layout(image_of(tmp_path / "blobs", [java, file(library, elf_head(62) + LIBC)]), tmp_path / "wrong")
    with pytest.raises(InputError, match=f"says it is for linux/arm64, but its /{library} is for x86_64"):
        image_base(tmp_path / "wrong", AARCH64)
    right = image_of(tmp_path / "blobs", [java, file(library, elf_head(183) + LIBC)])
    write_layout(right, tmp_path / "right")
    assert image_base(tmp_path / "right", AARCH64).java_home == "/opt/java"


@pytest.mark.parametrize(
    ("path", "words"),
    [("lib/ld-musl-aarch64.so.1", "no Java"), ("opt/java/lib/server/libjvm.so", "no C library")],
)
def test_an_image_without_java_or_libc_is_refused(tmp_path: Path, path: str, words: str) -> None:
    write_layout(image_of(tmp_path / "blobs", [file(path)]), tmp_path / "base")
    with pytest.raises(InputError, match=words):
        image_base(tmp_path / "base", AARCH64)
