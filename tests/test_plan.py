from __future__ import annotations

from pathlib import Path

import pytest
from builders import X86_64, elf_bytes, jar_bytes, rocksdb_jar, tarball
from builders_port import (
    CHECK,
    NEW,
    NEW_JAR,
    OLD_JAR,
    PRESTO_JAR,
    TOLERATED_JAR,
    made_catalog,
    made_patches,
    sha256,
)

from pulsar_arm.catalog import load_catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.host.progress import Silent
from pulsar_arm.patches import ClassPatch
from pulsar_arm.plan import PatchClass, Plan, Replace, Resolved, Tolerated, Unresolved, plan
from pulsar_arm.platforms import AARCH64
from pulsar_arm.scan import scan


def planned(tmp_path: Path, files: dict[str, bytes]) -> Plan:
    path = tarball(
        tmp_path / "x.tar", {f"top/{name}": made for name, made in {**files, "README": b""}.items()}
    )
    catalog = made_catalog(tmp_path / "overrides")
    inventory = scan(open_source("x.tar", path), catalog, AARCH64, Silent())
    return plan(inventory, catalog, made_patches(tmp_path / "patches"))


def test_a_gap_with_a_replacement_is_resolved_at_its_place(tmp_path: Path) -> None:
    made = planned(tmp_path, {"lib/rocksdbjni-5.1.jar": OLD_JAR})
    replace = Replace("lib/rocksdbjni-5.1.jar", str(NEW), sha256(NEW_JAR), "Apache-2.0", "it has aarch64")
    assert [verdict.outcome for verdict in made.verdicts] == [Resolved((replace,))]
    assert made.actions == (replace,)
    assert made.blocking == ()


def test_every_copy_of_the_library_is_replaced(tmp_path: Path) -> None:
    nar = jar_bytes({"in/rocksdbjni-5.1.jar": OLD_JAR})
    files = {"lib/rocksdbjni-5.1.jar": OLD_JAR, "lib/rocksdbjni-5.1-linux.jar": OLD_JAR, "c.nar": nar}
    assert sorted(action.location for action in planned(tmp_path, files).actions) == [
        "c.nar!/in/rocksdbjni-5.1.jar",
        "lib/rocksdbjni-5.1-linux.jar",
        "lib/rocksdbjni-5.1.jar",
    ]


def test_what_falls_back_is_tolerated_with_the_reason(tmp_path: Path) -> None:
    made = planned(tmp_path, {"lib/tolerated-1.0.jar": TOLERATED_JAR})
    assert [verdict.outcome for verdict in made.verdicts] == [Tolerated("it falls back")]
    assert (made.actions, made.blocking) == ((), ())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"lib/rocksdbjni-5.0.jar": rocksdb_jar("5.0", X86_64)},
            "rocksdbjni.toml has no remedy for version 5.0 in lib",
        ),
        (
            {"lib/rocksdbjni.jar": rocksdb_jar("", X86_64)},
            "rocksdbjni.toml has no remedy for version (unknown) in lib",
        ),
        ({"lib/made-1.jar": jar_bytes({"a": elf_bytes(X86_64)})}, "jar_overrides has no file for made"),
    ],
)
def test_what_nothing_is_known_against_blocks_with_the_reason(
    tmp_path: Path, files: dict[str, bytes], reason: str
) -> None:
    made = planned(tmp_path, files)
    assert [verdict.outcome for verdict in made.verdicts] == [Unresolved(reason)]
    assert made.blocking == made.verdicts


def test_an_unresolved_gap_that_hardly_matters_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/made.toml").write_text(
        'schema = 1\nsummary = "x"\n[[severity]]\nlevel = "degraded"\nreason = "x"\nevidence = "x"\n'
    )
    path = tarball(tmp_path / "x.tar", {"lib/made-1.jar": jar_bytes({"a": elf_bytes(X86_64)})})
    catalog = load_catalog(tmp_path / "o")
    made = plan(scan(open_source("x.tar", path), catalog, AARCH64, Silent()), catalog, ())
    assert [verdict.outcome for verdict in made.verdicts] == [
        Unresolved("made.toml has no remedy for version 1 in lib")
    ]
    assert made.blocking == ()


def test_a_check_whose_bytes_a_patch_knows_is_patched(tmp_path: Path) -> None:
    (action,) = planned(tmp_path, {"lib/presto-main-0.1.jar": PRESTO_JAR}).actions
    assert isinstance(action, PatchClass)
    assert (action.location, action.entry) == ("lib/presto-main-0.1.jar", CHECK)
    assert isinstance(action.patch, ClassPatch)


def test_a_check_of_unknown_bytes_is_refused_with_its_hash(tmp_path: Path) -> None:
    from builders_classfile import EQUALS, made_presto

    other = made_presto(['ldc "sparc"', "aload_3", EQUALS]).build()
    made = planned(tmp_path, {"lib/presto-main-0.1.jar": jar_bytes({CHECK: other})})
    reason = f"no patch knows the bytes of this class (SHA-256 {sha256(other)})"
    assert [verdict.outcome for verdict in made.blocking] == [Unresolved(reason)]


def test_a_check_without_any_patch_blocks(tmp_path: Path) -> None:
    path = tarball(tmp_path / "x.tar", {"lib/presto-main-0.1.jar": PRESTO_JAR})
    made = plan(scan(open_source("x.tar", path), {}, AARCH64, Silent()), {}, ())
    (verdict,) = made.blocking
    assert isinstance(verdict.outcome, Unresolved)
    assert verdict.outcome.reason.startswith("patches has no file for com.facebook.presto")
