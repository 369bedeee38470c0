from __future__ import annotations

import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import MTIME, HardLink, Link, Made, Odd, jar_bytes, tar_bytes, tarball
from builders_port import (
    CHECK,
    NEW,
    NEW_JAR,
    OLD_CLASS,
    OLD_JAR,
    PRESTO_JAR,
    TOLERATED_JAR,
    World,
    made_world,
    parts,
    sha256,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.formats.archive import Member, read_directory
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.plan import Resolved

TOP = "apache-pulsar-9.9.9"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with made_world(tmp_path_factory.mktemp("world")) as one:
        yield one


def release(path: Path, files: dict[str, Made] | None = None) -> Path:
    """A tarball of the made parts, or of some of them."""
    return tarball(
        path, {f"{TOP}/{name}": made for name, made in (parts() if files is None else files).items()}
    )


def members(path: Path) -> dict[str, tuple[Member, bytes]]:
    read = read_directory(path) if path.is_dir() else read_tar(path)
    return {member.path: (member, content.read() if content else b"") for member, content in read}


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as jar:
        assert jar.testzip() is None
        return {name: jar.read(name) for name in jar.namelist()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_replaced_jars_keep_their_place_and_name(tmp_path: Path, world: World) -> None:
    source = release(tmp_path / "in.tar.gz")
    before, after = members(source), members(world.port(source, tmp_path / "out.tar.gz").path)
    assert list(after) == list(before)
    changed = {path for path in before if before[path][1] != after[path][1]}
    assert {path.removeprefix(f"{TOP}/") for path in changed} == {
        "lib/org.rocksdb-rocksdbjni-5.1.jar",
        "lib/presto/plugin/p/rocksdbjni-5.1.jar",
        "lib/presto/lib/presto-main-0.1.jar",
        "connectors/c.nar",
    }
    assert after[f"{TOP}/lib/org.rocksdb-rocksdbjni-5.1.jar"][1] == NEW_JAR
    for path in before:
        old, new = before[path][0], after[path][0]
        assert (new.kind, new.mode, new.mtime) == (old.kind, old.mode, old.mtime)


def test_an_archive_in_an_archive_is_rewritten_once_with_all_its_changes(
    tmp_path: Path, world: World
) -> None:
    source = release(tmp_path / "in.tar")
    nar = entries(members(world.port(source, tmp_path / "out.tar").path)[f"{TOP}/connectors/c.nar"][1])
    assert nar["META-INF/bundled/rocksdbjni-5.1.jar"] == NEW_JAR
    inner = entries(nar["META-INF/bundled/presto-main-0.1.jar"])
    assert inner[CHECK] != OLD_CLASS
    assert {**inner, CHECK: OLD_CLASS} == entries(PRESTO_JAR)


def test_every_change_is_a_row_with_hashes_and_origin(tmp_path: Path, world: World) -> None:
    files: dict[str, Made] = {
        "lib/rocksdbjni-5.1.jar": OLD_JAR,
        "lib/presto-main-0.1.jar": PRESTO_JAR,
        "lib/tolerated-1.jar": TOLERATED_JAR,
    }
    replaced, patched = world.port(release(tmp_path / "in.tar", files), tmp_path / "out.tar").changes
    assert (replaced.location, replaced.action, replaced.origin) == (
        "lib/rocksdbjni-5.1.jar",
        "replace",
        str(NEW),
    )
    assert (replaced.sha256_before, replaced.sha256_after) == (sha256(OLD_JAR), sha256(NEW_JAR))
    assert (replaced.origin_sha256, replaced.licence) == (sha256(NEW_JAR), "Apache-2.0")
    assert (patched.location, patched.action) == (f"lib/presto-main-0.1.jar!/{CHECK}", "patch")
    assert (patched.sha256_before, patched.origin, patched.origin_sha256) == (sha256(OLD_CLASS), "presto", "")
    new = entries(members(tmp_path / "out.tar")[f"{TOP}/lib/presto-main-0.1.jar"][1])[CHECK]
    assert patched.sha256_after == sha256(new)


CHOICES = st.sets(st.sampled_from(sorted(parts())), min_size=1).map(
    lambda names: {name: parts()[name] for name in sorted(names)}
)
MANY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(files=CHOICES, suffix=st.sampled_from(["tar", "tar.gz"]))
def test_porting_twice_equals_porting_once(
    files: dict[str, Made], suffix: str, world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("twice")
    once = world.port(release(folder / f"in.{suffix}", files), folder / f"once.{suffix}")
    twice = world.port(once.path, folder / f"twice.{suffix}")
    assert twice.changes == ()
    assert digest(twice.path) == digest(once.path)


@MANY
@given(files=CHOICES, suffix=st.sampled_from([".tar", ".tgz", ""]))
def test_no_resolved_gap_is_in_the_scan_of_what_was_ported(
    files: dict[str, Made], suffix: str, world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("theorem")
    ported = world.port(release(folder / "in.tar.gz", files), folder / f"out{suffix}")
    _source, after = world.plan(ported.path)
    resolved = {verdict.subject for verdict in ported.plan.verdicts if isinstance(verdict.outcome, Resolved)}
    left = [verdict.subject for verdict in ported.plan.verdicts if verdict.subject not in resolved]
    assert [verdict.subject for verdict in after.verdicts] == left
    assert after.actions == ()
    assert after.inventory.unreadable == ()


@MANY
@given(files=CHOICES)
def test_two_ports_of_the_same_source_give_the_same_bytes(
    files: dict[str, Made], world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("same")
    source = release(folder / "in.tar.gz", files)
    assert digest(world.port(source, folder / "a.tar.gz").path) == digest(
        world.port(source, folder / "b.tgz").path
    )


CLEAN: dict[str, Made] = {"README": b"x", "lib/tolerated-1.jar": TOLERATED_JAR, "lib/l": Link("../README")}


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "tar"])
def test_an_empty_plan_changes_no_byte_of_a_tarball(tmp_path: Path, world: World, suffix: str) -> None:
    source = release(tmp_path / f"in.{suffix}", CLEAN)
    ported = world.port(source, tmp_path / f"out.{suffix}")
    assert ported.plan.actions == ()
    assert ported.path.read_bytes() == source.read_bytes()


def test_an_empty_plan_changes_no_byte_of_a_folder(tmp_path: Path, world: World) -> None:
    folder = world.port(release(tmp_path / "in.tar.gz", CLEAN), tmp_path / "folder").path
    again = world.port(folder, tmp_path / "again").path
    assert members(again) == members(folder)
    assert len(members(folder)) == 4


def test_an_empty_plan_changes_no_byte_of_a_jar(tmp_path: Path, world: World) -> None:
    (tmp_path / "in.jar").write_bytes(jar_bytes({"a.txt": b"a"}))
    assert (
        world.port(tmp_path / "in.jar", tmp_path / "out.jar").path.read_bytes()
        == (tmp_path / "in.jar").read_bytes()
    )


def test_a_single_nar_is_ported_in_place_of_its_name(tmp_path: Path, world: World) -> None:
    nar = parts()["connectors/c.nar"]
    assert isinstance(nar, bytes)
    (tmp_path / "c.nar").write_bytes(nar)
    ported = world.port(tmp_path / "c.nar", tmp_path / "out.nar")
    assert entries(ported.path.read_bytes())["META-INF/bundled/rocksdbjni-5.1.jar"] == NEW_JAR
    assert len(ported.changes) == 2


def test_the_suffix_decides_what_is_written_whatever_the_source_is_called(
    tmp_path: Path, world: World
) -> None:
    source = release(tmp_path / "in.tar.gz", CLEAN).rename(tmp_path / "download")
    plain, packed = (world.port(source, tmp_path / name).path.read_bytes() for name in ("o.tar", "o.tar.gz"))
    assert (plain[:2] == b"\x1f\x8b", packed[:2] == b"\x1f\x8b") == (False, True)
    assert list(members(tmp_path / "o.tar")) == list(members(tmp_path / "o.tar.gz"))


def test_a_tarball_is_unpacked_with_modes_times_and_links(tmp_path: Path, world: World) -> None:
    files = {**parts(), "lib/l": Link("../README"), "hard": HardLink(f"{TOP}/README")}
    out = world.port(release(tmp_path / "in.tar.gz", files), tmp_path / "new" / "out").path
    assert not (out / TOP).exists()
    assert stat.S_IMODE((out / "bin/pulsar").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "README").stat().st_mode) == 0o644
    assert (out / "bin/pulsar").stat().st_mtime == (out / "empty").stat().st_mtime == MTIME
    assert (out / "lib/l").readlink() == Path("../README")
    assert (out / "hard").samefile(out / "README")
    assert (out / "empty").is_dir()


def test_hard_links_stay_links_in_a_tarball(tmp_path: Path, world: World) -> None:
    files: dict[str, Made] = {"lib/rocksdbjni-5.1.jar": OLD_JAR, "a": b"a", "hard": HardLink(f"{TOP}/a")}
    out = members(world.port(release(tmp_path / "in.tar", files), tmp_path / "out.tar").path)
    assert (out[f"{TOP}/hard"][0].kind, out[f"{TOP}/hard"][0].link) == ("hardlink", f"{TOP}/a")


def test_a_folder_is_packed_below_its_own_name(tmp_path: Path, world: World) -> None:
    folder = world.port(release(tmp_path / "in.tar.gz"), tmp_path / TOP).path
    first = world.port(folder, tmp_path / "out.tar.gz").path
    assert {path.split("/")[0] for path in members(first)} == {TOP}
    assert digest(world.port(folder, tmp_path / "again.tar.gz").path) == digest(first)


def test_a_tarball_without_a_top_folder_stays_without(tmp_path: Path, world: World) -> None:
    source = tarball(tmp_path / "in.tar.gz", {"./": None, "./lib/rocksdbjni-5.1.jar": OLD_JAR, "./a": b"a"})
    out = members(world.port(source, tmp_path / "out.tar.gz").path)
    assert sorted(out) == ["a", "lib/rocksdbjni-5.1.jar"]
    assert out["lib/rocksdbjni-5.1.jar"][1] == NEW_JAR


def test_a_setuid_bit_is_not_unpacked(tmp_path: Path, world: World) -> None:
    info = tarfile.TarInfo("top/x")
    info.mode = 0o6755
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.addfile(info, io.BytesIO())
    out = world.port(tmp_path / "in.tar", tmp_path / "out").path
    assert stat.S_IMODE((out / "x").stat().st_mode) == 0o755


HOSTILE: dict[str, list[tuple[str, Made]]] = {
    "a parent": [("../evil", b"x")],
    "absolute": [("/tmp/evil", b"x")],
    "a device": [("null", Odd(tarfile.CHRTYPE))],
    "a fifo": [("pipe", Odd(tarfile.FIFOTYPE))],
    "a link out": [("l", Link("../..")), ("l/evil", b"x")],
    "chained links": [("x", None), ("x/y", Link("..")), ("z", Link("x/y/..")), ("z/evil", b"x")],
    "a file through a link of its own name": [
        ("x", None),
        ("x/y", Link("..")),
        ("l", Link("x/evil")),
        ("l", b"x"),
    ],
    "a hard link to a link": [("a/b/l", Link("../../x")), ("h", HardLink("a/b/l")), ("h/evil", b"x")],
    "a hard link to nothing": [("h", HardLink("nothing"))],
    "a hard link to a later file": [("h", HardLink("f")), ("f", b"x")],
    "a file twice": [("f", b"1"), ("f", b"2")],
    "a file as a folder": [("f", b"1"), ("f/g", b"2")],
    "a folder as a file": [("f/g", b"2"), ("f", b"1")],
    "a folder as a link": [("f/g", b"2"), ("f", Link("."))],
}


@pytest.mark.parametrize("out", ["out", "out.tar"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    tmp_path: Path, world: World, name: str, out: str
) -> None:
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    source = place / "in.tar"
    source.write_bytes(tar_bytes([("lib/rocksdbjni-5.1.jar", OLD_JAR), *HOSTILE[name]]))
    before = source.read_bytes()
    with pytest.raises(InputError):
        world.port(source, place / out)
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "in.tar", "place"]


@pytest.mark.parametrize("out", ["out", "out.tar.gz"])
def test_a_cut_off_tarball_is_refused_and_nothing_is_written(tmp_path: Path, world: World, out: str) -> None:
    source = release(tmp_path / "in.tar.gz")
    source.write_bytes(source.read_bytes()[:-300])
    with pytest.raises(
        InputError, match=r"in\.tar\.gz cannot be ported: the archive: .* is damaged or cut off"
    ):
        world.port(source, tmp_path / out)
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_that_changes_between_scan_and_port_is_told(tmp_path: Path, world: World) -> None:
    from pulsar_arm.host.progress import Silent
    from pulsar_arm.port import port

    source, made = world.plan(release(tmp_path / "in.tar"))
    release(tmp_path / "in.tar", {"README": b"x", "bin/pulsar": b""})
    with pytest.raises(InputError, match="is no longer there: the source changed"):
        port(source, made, tmp_path / "out.tar", world.repository, Silent())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar"]


def test_a_signed_jar_that_must_change_is_refused_by_its_place(tmp_path: Path, world: World) -> None:
    signed = jar_bytes({CHECK: OLD_CLASS, "META-INF/A.SF": b"", "META-INF/A.RSA": b""})
    with pytest.raises(InputError, match=r"lib/presto-main-0\.1\.jar cannot be rewritten: it is signed"):
        world.port(
            release(tmp_path / "in.tar", {"lib/presto-main-0.1.jar": signed, "a": b""}), tmp_path / "out"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar"]


def test_a_replacement_that_is_not_the_pinned_one_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with made_world(tmp_path / "world") as world:
        world.server.publish(NEW.path, NEW_JAR + b"tampered")
        with pytest.raises(HostError):
            world.port(release(tmp_path / "in.tar"), tmp_path / "out.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tar", "world"]


def test_an_existing_output_is_replaced_only_by_force(tmp_path: Path, world: World) -> None:
    source, out = release(tmp_path / "in.tar"), tmp_path / "out.tar"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        world.port(source, out)
    assert out.read_text() == "mine"
    world.port(source, out, force=True)
    assert f"{TOP}/README" in members(out)


def test_very_long_and_foreign_names_are_carried(tmp_path: Path, world: World) -> None:
    files: dict[str, Made] = {
        "n" * 200: b"1",
        "raw-\udcff": b"2",
        "ü": b"3",
        "lib/rocksdbjni-5.1.jar": OLD_JAR,
    }
    source = release(tmp_path / "in.tar", files)
    out = members(world.port(source, tmp_path / "out").path)
    assert {name: out[name][1] for name in list(files)[:3]} == {name: files[name] for name in list(files)[:3]}
    assert list(members(world.port(source, tmp_path / "out.tar").path)) == list(members(source))
    assert b"raw-\xff" in {os.fsencode(path.name) for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_an_xz_tarball_that_needs_no_change_becomes_what_the_output_is_called(
    tmp_path: Path, world: World, suffix: str
) -> None:
    path, out = tmp_path / "x.tar.xz", tmp_path / f"out.{suffix}"
    path.write_bytes(lzma.compress(tar_bytes({"top/lib/x-1.0.jar": jar_bytes({"a": b"a"})})))
    world.port(path, out)
    assert list(members(out)) == ["top/lib/x-1.0.jar"]
    assert (out.read_bytes()[257:262] == b"ustar") == (suffix == "tar")
