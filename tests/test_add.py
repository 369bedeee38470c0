from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from builders import AARCH64, X86_64, elf_bytes, jar_bytes, pom, pulsar_folder, pulsar_tarball, rocksdb_jar

from pulsar_arm import report
from pulsar_arm.catalog import Catalog, load_catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.errors import CatalogError, InputError
from pulsar_arm.formats.archive import read_directory
from pulsar_arm.formats.jar import add_entry
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.plan import Add, Plan, Resolved, Unresolved, plan
from pulsar_arm.platforms import platform
from pulsar_arm.port import Ported, port
from pulsar_arm.scan import scan

ARM = jar_bytes({"native/libfast_aarch_64.so": elf_bytes(AARCH64)})
X86 = jar_bytes({"native/libfast_x86_64.so": elf_bytes(X86_64), **pom("fast", "1.2")})
COORDINATE = "org.made:fast:1.2:jar:linux-aarch_64"
REMEDY = """\
schema = 1
summary = "something fast"

[[loader]]
machine = "aarch64"
libc = "*"
names = ["native/libfast_aarch_64.so"]

[[severity]]
level = "feature"
reason = "slow"
evidence = "made"

[[remedy]]
versions = ["1.2"]
action = "add"
with = "{coordinate}"
sha256 = "{sha256}"
licence = "Apache-2.0"
why = "its own build"
"""


@pytest.fixture
def known(tmp_path: Path) -> Catalog:
    folder = tmp_path / "overrides"
    folder.mkdir()
    digest = hashlib.sha256(ARM).hexdigest()
    (folder / "fast.toml").write_text(REMEDY.format(coordinate=COORDINATE, sha256=digest))
    rocksdb = "schema = 1\nsummary = 'x'\n[[remedy]]\naction = 'tolerate'\nwhy = 'made'\n"
    (folder / "rocksdbjni.toml").write_text(rocksdb)
    return load_catalog(folder)


@pytest.fixture
def filled(tmp_path: Path) -> Repository:
    """A repository whose cache holds the one jar that is added."""
    place = tmp_path / "cache" / "maven" / Coordinate.parse(COORDINATE).path
    place.parent.mkdir(parents=True)
    place.write_bytes(ARM)
    return Repository(tmp_path / "cache", offline=True, progress=Silent())


def planned(path: Path, known: Catalog) -> Plan:
    return plan(scan(open_source(str(path), path), known, platform("aarch64"), Silent()), known, ())


def ported(path: Path, out: Path, known: Catalog, repository: Repository) -> Ported:
    return port(open_source(str(path), path), planned(path, known), out, repository, Silent())


def actions(path: Path, known: Catalog) -> list[tuple[str, str]]:
    return [(one.location, one.beside) for one in planned(path, known).actions if isinstance(one, Add)]


def test_the_jar_is_named_as_the_jars_of_its_folder(tmp_path: Path, known: Catalog) -> None:
    more = {"lib/org.made-fast-1.2-linux-x86_64.jar": X86, "lib/plugin/fast-1.2.jar": X86}
    source = pulsar_folder(tmp_path / "pulsar", more=more)
    assert actions(source, known) == [
        ("lib/org.made-fast-1.2-linux-aarch_64.jar", "lib/org.made-fast-1.2-linux-x86_64.jar"),
        ("lib/plugin/fast-1.2-linux-aarch_64.jar", "lib/plugin/fast-1.2.jar"),
    ]


def test_it_is_written_behind_the_jar_it_serves_with_the_same_mode_and_time(
    tmp_path: Path, known: Catalog, filled: Repository
) -> None:
    more = {"lib/org.made-fast-1.2.jar": X86, "zzz": b"last"}
    source = pulsar_tarball(tmp_path / "pulsar.tar.gz", more=more)
    done = ported(source, tmp_path / "out.tar.gz", known, filled)
    before = [member for member, _content in read_tar(source)]
    after = {member.path: (member, content.read()) for member, content in read_tar(done.path) if content}
    added, content = after["apache-pulsar-9.9.9/lib/org.made-fast-1.2-linux-aarch_64.jar"]
    assert content == ARM
    served, same = after["apache-pulsar-9.9.9/lib/org.made-fast-1.2.jar"]
    assert same == X86
    assert (added.mode, added.mtime, added.uid) == (served.mode, served.mtime, served.uid)
    assert list(after).index(added.path) == list(after).index(served.path) + 1
    assert len(after) == len(before) + 1


def test_porting_twice_equals_porting_once(tmp_path: Path, known: Catalog, filled: Repository) -> None:
    source = pulsar_tarball(tmp_path / "pulsar.tar.gz", more={"lib/org.made-fast-1.2.jar": X86})
    once = ported(source, tmp_path / "once.tar.gz", known, filled)
    again = ported(source, tmp_path / "again.tar.gz", known, filled)
    twice = ported(once.path, tmp_path / "twice.tar.gz", known, filled)
    assert once.path.read_bytes() == again.path.read_bytes() == twice.path.read_bytes()
    assert twice.changes == ()
    assert [
        one.subject for one in planned(once.path, known).verdicts if isinstance(one.outcome, Resolved)
    ] == []


def test_a_folder_gets_the_jar_too(tmp_path: Path, known: Catalog, filled: Repository) -> None:
    source = pulsar_folder(tmp_path / "pulsar", more={"lib/org.made-fast-1.2.jar": X86})
    done = ported(source, tmp_path / "out", known, filled)
    assert (done.path / "lib/org.made-fast-1.2-linux-aarch_64.jar").read_bytes() == ARM
    assert len(list(read_directory(done.path))) == len(list(read_directory(source))) + 1


def test_the_receipt_tells_that_nothing_was_there_before(
    tmp_path: Path, known: Catalog, filled: Repository
) -> None:
    source = pulsar_folder(tmp_path / "pulsar", more={"lib/org.made-fast-1.2.jar": X86})
    receipt = report.receipt_json(ported(source, tmp_path / "out", known, filled))
    digest = hashlib.sha256(ARM).hexdigest()
    assert receipt["actions"] == [
        {
            "location": "lib/org.made-fast-1.2-linux-aarch_64.jar",
            "action": "add",
            "sha256_before": None,
            "sha256_after": digest,
            "origin": COORDINATE,
            "origin_sha256": digest,
            "licence": "Apache-2.0",
            "why": "its own build",
        }
    ]
    assert f"add {COORDINATE} beside it" in json.dumps(receipt["verdicts"])


def test_in_a_nar_it_becomes_the_last_entry(tmp_path: Path, known: Catalog, filled: Repository) -> None:
    entry = "META-INF/bundled-dependencies/fast-1.2.jar"
    nar = tmp_path / "pulsar-io-made-1.0.nar"
    nar.write_bytes(jar_bytes({entry: X86, "META-INF/services/a": b"text"}))
    done = ported(nar, tmp_path / "out.nar", known, filled)
    with zipfile.ZipFile(done.path) as jar:
        assert jar.testzip() is None
        added = "META-INF/bundled-dependencies/fast-1.2-linux-aarch_64.jar"
        assert jar.namelist() == [entry, "META-INF/services/a", added]
        assert jar.read(added) == ARM
        assert jar.getinfo(added).date_time == jar.getinfo(entry).date_time
        assert jar.getinfo(added).external_attr == jar.getinfo(entry).external_attr
    twice = ported(done.path, tmp_path / "twice.nar", known, filled)
    assert twice.path.read_bytes() == done.path.read_bytes()
    assert [one.action for one in done.changes] == ["add"]


def test_a_single_jar_has_no_room_beside_it(tmp_path: Path, known: Catalog) -> None:
    (tmp_path / "fast-1.2.jar").write_bytes(X86)
    (verdict,) = planned(tmp_path / "fast-1.2.jar", known).verdicts
    assert isinstance(verdict.outcome, Unresolved)
    assert "a single jar has no room for it" in verdict.outcome.reason


def test_a_name_that_is_taken_is_refused_and_nothing_is_left(
    tmp_path: Path, known: Catalog, filled: Repository
) -> None:
    taken = "lib/org.made-fast-1.2-linux-aarch_64.jar"
    more = {"lib/org.made-fast-1.2.jar": X86, taken: b"no jar"}
    source = pulsar_tarball(tmp_path / "pulsar.tar.gz", more=more)
    with pytest.raises(InputError, match="twice"):
        ported(source, tmp_path / "out.tar.gz", known, filled)
    assert not (tmp_path / "out.tar.gz").exists()


def test_an_entry_that_is_there_is_not_added_again() -> None:
    content = jar_bytes({"a": b"1", "b": b"2"})
    with pytest.raises(InputError, match="it holds a b already"):
        add_entry(content, "b", b"3", "a")
    with pytest.raises(InputError, match="it holds no c"):
        add_entry(content, "d", b"3", "c")


def test_an_added_entry_leaves_the_others_as_they_were() -> None:
    content = jar_bytes({"a": b"1" * 1000, "b": rocksdb_jar("5", AARCH64)}, comment=b"made")
    with zipfile.ZipFile(io.BytesIO(add_entry(content, "c", b"3", "a"))) as jar:
        assert jar.namelist() == ["a", "b", "c"]
        assert jar.comment == b"made"
        assert [info.compress_size for info in jar.filelist][:2] == [
            info.compress_size for info in zipfile.ZipFile(io.BytesIO(content)).filelist
        ]


def test_what_is_added_needs_a_digest(tmp_path: Path) -> None:
    (tmp_path / "fast.toml").write_text(REMEDY.format(coordinate=COORDINATE, sha256="none"))
    with pytest.raises(CatalogError, match="sha256"):
        load_catalog(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "version"),
    [
        ("Bundle-SymbolicName: fast\r\nBundle-Version: 0\r\n", "1.2"),
        ("Implementation-Title: fast\nImplementation-Version: 1.3\n", "1.3"),
        ("Implementation-Title: other\nImplementation-Version: 1.3\n", "1.2"),
        ("Name: fast\n\nImplementation-Title: fast\nImplementation-Version: 1.3\n", "1.2"),
    ],
)
def test_a_jar_that_took_anothers_name_is_known_by_its_manifest(
    tmp_path: Path, known: Catalog, manifest: str, version: str
) -> None:
    entries = {"META-INF/MANIFEST.MF": manifest.encode(), "native/libfast_x86_64.so": elf_bytes(X86_64)}
    source = pulsar_folder(tmp_path / "pulsar", more={"lib/org.made-fast-1.2.jar": jar_bytes(entries)})
    (gap,) = (one for one in planned(source, known).inventory.gaps if one.library == "fast")
    assert gap.version == version
