from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
from builders import jar_bytes, pulsar_folder, pulsar_tarball, tarball

from pulsar_arm.distribution import Distribution, Source, is_image, is_release, open_source, recognise
from pulsar_arm.errors import InputError, UsageError


def recognised(path: Path) -> Distribution:
    source = open_source(str(path), path)
    return recognise([member.path for member, _content in source.members()], source, source.sha256())


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "tar"])
def test_a_release_tarball_is_opened_whatever_its_suffix(tmp_path: Path, suffix: str) -> None:
    path = pulsar_tarball(tmp_path / f"renamed.{suffix}")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert recognised(path) == Distribution("pulsar", "9.9.9", str(path), sha256, "apache-pulsar-9.9.9")


def test_an_unpacked_release_is_a_pulsar_without_a_top_folder(tmp_path: Path) -> None:
    path = pulsar_folder(tmp_path / "here")
    assert recognised(path) == Distribution("pulsar", "9.9.9", str(path), "", "")


@pytest.mark.parametrize("top", [None, "apache-pulsar-9.9.9"])
def test_a_tarball_made_with_a_dot_folder_is_the_same_pulsar(tmp_path: Path, top: str | None) -> None:
    """`tar czf x.tar.gz -C folder .` puts `./` first."""
    files = {
        "./": None,
        **{f"./{top}/{name}" if top else f"./{name}": made for name, made in pulsar().items()},
    }
    found = recognised(tarball(tmp_path / "x.tar.gz", files))
    assert (found.kind, found.version, found.root) == ("pulsar", "9.9.9", top or "")


def pulsar() -> dict[str, bytes]:
    return {
        "bin/pulsar": b"",
        "conf/broker.conf": b"",
        "lib/org.apache.pulsar-pulsar-broker-9.9.9.jar": jar_bytes({"a": b"a"}),
    }


def test_offloaders_are_told_by_their_nars(tmp_path: Path) -> None:
    top = "apache-pulsar-offloaders-2.6.0"
    path = tarball(
        tmp_path / "x.tar.gz",
        {f"{top}/offloaders/tiered-storage-jcloud-2.6.0.nar": b"", f"{top}/LICENSE": b""},
    )
    found = recognised(path)
    assert (found.kind, found.version, found.root) == ("offloaders", "2.6.0", top)


def test_any_other_tarball_is_java_with_what_is_known_of_it(tmp_path: Path) -> None:
    found = recognised(tarball(tmp_path / "x.tar.gz", {"app/lib/a.jar": b"", "app/b": b""}))
    assert (found.kind, found.version, found.root) == ("java", "", "app")
    found = recognised(tarball(tmp_path / "y.tar.gz", {"a.jar": b"", "lib/b.jar": b""}))
    assert (found.kind, found.root) == ("java", "")
    found = recognised(tarball(tmp_path / "z.tar.gz", {"single": None}))
    assert (found.kind, found.root) == ("java", "")


@pytest.mark.parametrize(
    ("name", "kind", "version"),
    [
        ("pulsar-io-kafka-2.6.0.nar", "connector", "2.6.0"),
        ("rocksdbjni-5.18.4.jar", "jar", "5.18.4"),
        ("netty-tcnative-2.0.31.Final.jar", "jar", "2.0.31.Final"),
        ("nameless.jar", "jar", ""),
        ("anything", "jar", ""),
    ],
)
def test_a_single_jar_or_nar_is_its_own_only_member(
    tmp_path: Path, name: str, kind: str, version: str
) -> None:
    path = tmp_path / name
    path.write_bytes(jar_bytes({"a": b"a"}))
    source = open_source(str(path), path)
    ((member, content),) = (
        (member, content.read() if content else b"") for member, content in source.members()
    )
    assert (member.path, member.kind, content) == (name, "file", path.read_bytes())
    found = recognised(path)
    assert (found.kind, found.version, found.root) == (kind, version, "")


def test_sizes_are_told_for_files_only(tmp_path: Path) -> None:
    path = pulsar_tarball(tmp_path / "x.tar")
    assert open_source("x", path).size() == path.stat().st_size
    assert open_source("x", tmp_path) == Source("x", tmp_path, "directory")
    assert open_source("x", tmp_path).size() is None


def test_an_empty_jar_is_a_jar(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(jar_bytes({}))
    assert open_source("x.jar", tmp_path / "x.jar").form == "zip"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF", bytes(2048)])
def test_what_is_none_of_them_is_refused_with_the_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(
        UsageError, match=r"x is none of the things that can be read: give a release tarball .*number\.$"
    ):
        open_source("x", tmp_path / "x")


def test_what_is_not_there_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no x\.tar: give a release tarball"):
        open_source("x.tar", tmp_path / "x.tar")


def test_a_name_that_cannot_be_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        open_source("x", tmp_path / ("n" * 300))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="cannot be read: Too many levels of symbolic links"):
        open_source("loop", tmp_path / "loop")


def test_a_release_number_is_one_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [is_release(name) for name in ("2.6.0", "3.0.0-candidate-1", "2.6", "x", "2.6.0.tar.gz/y")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    (tmp_path / "2.6.0").mkdir()
    assert not is_release("2.6.0")


def test_an_image_is_told_from_a_distribution(tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    assert not is_image(str(tmp_path / "layout"))
    (tmp_path / "layout/oci-layout").write_text("{}")
    assert is_image(str(tmp_path / "layout"))
    for name in ("oci-layout", "manifest.json", "index.json"):
        assert is_image(str(tarball(tmp_path / "image.tar", {"blobs": None, name: b"{}"})))
    assert not is_image(str(pulsar_tarball(tmp_path / "x.tar")))
    assert not is_image(str(pulsar_tarball(tmp_path / "x.tar.gz")))
    assert not is_image(str(tmp_path / "missing"))
    assert tarfile.is_tarfile(tmp_path / "x.tar")
