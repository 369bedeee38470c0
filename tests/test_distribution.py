from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from backports import zstd
from builders import (
    MTIME,
    X86_64,
    elf_bytes,
    jar_bytes,
    pulsar_folder,
    pulsar_tarball,
    rocksdb_jar,
    tarball,
)
from builders_oci import blob_of, docker_archive, file, hardlink, image_of, symlink, tar_of

from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import Distribution, Source, is_image, is_release, open_source, recognise
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats.archive import Member
from pulsar_arm.formats.blob import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD
from pulsar_arm.formats.oci import digest
from pulsar_arm.formats.oci_archive import write_archive, write_layout
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.plan import plan
from pulsar_arm.platforms import AARCH64
from pulsar_arm.port import port
from pulsar_arm.scan import scan


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
        ("x-1.0.war", "jar", "1.0"),
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
    assert open_source("x.jar", tmp_path / "x.jar").form == "jar"


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


def told(tmp_path: Path, *paths: str) -> tuple[str, str]:
    """Kind and version of a tarball of these files below one folder."""
    found = recognised(tarball(tmp_path / "x.tar.gz", {f"top/{path}": b"" for path in (*paths, "README")}))
    assert found.root == "top"
    return found.kind, found.version


BOOKIE = "lib/org.apache.bookkeeper-bookkeeper-server-4.17.3.jar"
PLUGIN = "plugin/pulsar-presto-connector"


@pytest.mark.parametrize(
    ("paths", "kind", "version"),
    [
        (("bin/pulsar-shell", "lib/pulsar-client-tools-4.0.8.jar"), "shell", "4.0.8"),
        (("connectors/pulsar-io-jdbc-postgres-2.6.0.nar",), "connectors", "2.6.0"),
        (("lib/presto-main-0.206.jar", f"{PLUGIN}/pulsar-presto-connector-2.6.0.jar"), "sql", "2.6.0"),
        (("bin/launcher", "lib/presto-main-0.122.jar"), "presto", "0.122"),
        (("bin/launcher", "lib/trino-main-352.jar"), "trino", "352"),
        (("bin/launcher", "lib/io.trino_trino-main-476.jar"), "trino", "476"),
        (("bin/bookkeeper", "conf/bk_server.conf", BOOKIE), "bookkeeper", "4.17.3"),
        (("other/lib/presto-main-0.122.jar",), "java", ""),
    ],
)
def test_a_kind_is_told_by_what_must_be_there(
    tmp_path: Path, paths: tuple[str, ...], kind: str, version: str
) -> None:
    assert told(tmp_path, *paths) == (kind, version)


def test_a_pulsar_stays_one_with_what_it_holds_of_others(tmp_path: Path) -> None:
    others = ("bin/pulsar-shell", "bin/bookkeeper", "conf/bk_server.conf", "lib/presto/lib/presto-main-1.jar")
    assert told(tmp_path, *pulsar(), *others) == ("pulsar", "9.9.9")


def test_an_unknown_distributions_version_is_in_its_name(tmp_path: Path) -> None:
    path = tarball(tmp_path / "kafka_2.13-3.1.0.tgz", {"libs/a.jar": b"", "bin/b": b""})
    assert (recognised(path).kind, recognised(path).version) == ("java", "3.1.0")
    path = tarball(tmp_path / "y.tgz", {"app-7.1/a.jar": b""})
    assert recognised(path).version == "7.1"


def test_a_connector_is_told_by_its_entries_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "pulsar-io-kafka-2.6.0.jar"
    path.write_bytes(jar_bytes({"META-INF/services/pulsar-io.yaml": b""}))
    assert (recognised(path).kind, recognised(path).version) == ("connector", "2.6.0")


def test_a_zip_is_a_distribution_unless_it_is_an_archive_of_javas(tmp_path: Path) -> None:
    files = {f"apache-pulsar-9.9.9/{name}": made for name, made in pulsar().items()}
    (tmp_path / "x.zip").write_bytes(jar_bytes({"apache-pulsar-9.9.9/": b"", **files}))
    found = recognised(tmp_path / "x.zip")
    assert (found.kind, found.version, found.root) == ("pulsar", "9.9.9", "apache-pulsar-9.9.9")
    (tmp_path / "y.zip").write_bytes(jar_bytes({"META-INF/MANIFEST.MF": b""}))
    assert recognised(tmp_path / "y.zip").kind == "jar"


def test_the_members_of_a_zip_are_those_of_a_tarball(tmp_path: Path) -> None:
    content, time = io.BytesIO(), (2020, 6, 17, 1, 2, 4)
    with zipfile.ZipFile(content, "w") as packed:
        for name, mode, text in (
            ("d/", 0o040755, b""),
            ("d/run", 0o100755, b"text"),
            ("d/link", 0o120777, b"run"),
            ("../pipe", 0o010644, b""),
        ):
            info = zipfile.ZipInfo(name, time)
            info.external_attr = mode << 16
            packed.writestr(info, text, zipfile.ZIP_DEFLATED)
    (tmp_path / "x.zip").write_bytes(content.getvalue())
    source = open_source("x.zip", tmp_path / "x.zip")
    found = [(member, content.read() if content else b"") for member, content in source.members()]
    assert found == [
        (Member("d", "dir", 0o755, 0, MTIME), b""),
        (Member("d/run", "file", 0o755, 4, MTIME), b"text"),
        (Member("d/link", "symlink", 0o777, 0, MTIME, "run"), b""),
        (Member("../pipe", "special", 0o644, 0, MTIME), b""),
    ]


def test_a_zip_that_is_cut_off_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(jar_bytes({"a/b": b"text"})[:-30])
    with pytest.raises(InputError, match=r"x\.zip is damaged or cut off: its zip structure is damaged"):
        list(open_source("x.zip", tmp_path / "x.zip").members())


def image_file(place: Path, form: str, machine: str = "amd64") -> Path:
    """A small Pulsar as an image: one jar hidden, a folder emptied, one jar linked, and a system around."""
    rocksdb = "org.rocksdb-rocksdbjni-5.1.jar"
    lower = [
        file("pulsar/bin/pulsar"),
        file("pulsar/conf/broker.conf"),
        file("pulsar/lib/org.apache.pulsar-pulsar-broker-9.9.9.jar", jar_bytes({"a": b"a"})),
        file(f"pulsar/lib/{rocksdb}", rocksdb_jar("5.1", X86_64)),
        file("pulsar/lib/gone-1.0.jar", jar_bytes({"g.so": elf_bytes(X86_64)})),
        file("pulsar/old/o-1.0.jar", jar_bytes({"o.so": elf_bytes(X86_64)})),
        file("pulsar/native/linux-x86_64/libloose.so", elf_bytes(X86_64)),
        file("usr/lib/libsystem.so", elf_bytes(X86_64)),
        file("opt/java/lib/server/libjvm.so", elf_bytes(X86_64)),
        file("opt/java/lib/libzip.so", elf_bytes(X86_64)),
        file("usr/share/java/libs-1.0.jar", jar_bytes({"s.so": elf_bytes(X86_64)})),
        hardlink(f"pulsar/plugin/{rocksdb}", f"pulsar/lib/{rocksdb}"),
        symlink("usr/bin/java", "/opt/java/bin/java"),
    ]
    upper = [file("pulsar/lib/.wh.gone-1.0.jar"), file("pulsar/old/.wh..wh..opq")]
    blobs = place / "blobs"
    pack = {"gz": gzip.compress, "zst": zstd.compress}.get(form, bytes)
    media = {"gz": LAYER_GZIP, "zst": LAYER_ZSTD}.get(form, LAYER_TAR)
    layers = [blob_of(pack(one), blobs, media, digest(one)) for one in (tar_of(lower), tar_of(upper))]
    image = image_of(blobs, *layers, architecture=machine)
    archive = place / "image.tar"
    if form == "layout":
        write_layout(image, place / form)
        return place / form
    if form.startswith("docker"):
        docker_archive(archive, image)
    else:
        write_archive(image, archive, "made:1")
    packers = {"tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.zst": zstd.compress}
    if packer := packers.get(form.removeprefix("docker.")):
        archive.write_bytes(packer(archive.read_bytes()))
    return archive


@pytest.mark.parametrize("form", ["tar", "layout", "docker", "tar.gz", "tar.xz", "tar.zst", "gz", "zst"])
def test_an_image_is_judged_as_its_layers_show_it(tmp_path: Path, catalog: Catalog, form: str) -> None:
    source = open_source("x", image_file(tmp_path, form))
    assert source.form == "image"
    found = scan(source, catalog, AARCH64, Silent())
    assert (found.distribution.kind, found.distribution.version) == ("pulsar", "9.9.9")
    assert (found.distribution.root, found.distribution.inside) == ("", "pulsar")
    assert len(found.distribution.sha256) == 64
    assert found.unreadable == ()
    assert sorted(native.location for native in found.libraries) == [
        "pulsar/lib/org.rocksdb-rocksdbjni-5.1.jar!/librocksdbjni-linux64.so",
        "pulsar/native/linux-x86_64/libloose.so",
        "pulsar/plugin/org.rocksdb-rocksdbjni-5.1.jar!/librocksdbjni-linux64.so",
        "usr/share/java/libs-1.0.jar!/s.so",
    ]
    # What the catalog knows of `lib` holds for the image's own, wherever the distribution lies in it.
    assert [(gap.severity, gap.scope) for gap in found.gaps if gap.library == "rocksdbjni"] == [
        ("fatal", "pulsar/lib"),
        ("feature", "pulsar/plugin"),
    ]


def test_an_image_is_not_ported(tmp_path: Path, catalog: Catalog, repository: Repository) -> None:
    source = open_source("x", image_file(tmp_path, "tar"))
    found = plan(scan(source, catalog, AARCH64, Silent()), catalog, ())
    with pytest.raises(InputError, match="x is a container image: port the distribution"):
        port(source, found, tmp_path / "out", repository, Silent())


def test_an_image_for_another_machine_is_opened_too(tmp_path: Path) -> None:
    for machine in ("arm64", "amd64"):
        source = open_source("x", image_file(tmp_path / machine, "tar", machine))
        assert source.image is not None
        assert source.image.platform == f"linux/{machine}"
