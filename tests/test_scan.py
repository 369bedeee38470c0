from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from builders import (
    AARCH64,
    PPC64,
    X86,
    X86_64,
    Made,
    elf_bytes,
    elf_head,
    fat_bytes,
    jar_bytes,
    macho_bytes,
    pe_bytes,
    pulsar_folder,
    pulsar_tarball,
    rocksdb_jar,
    tarball,
)
from builders_classfile import EQUALS, made_presto

from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.fitness import ANY_GLIBC, Runtime, named_runtime
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64 as TARGET
from pulsar_arm.platforms import X86_64 as OTHER
from pulsar_arm.platforms import Platform
from pulsar_arm.scan import Gap, Inventory, Native, scan

CHECK = "com/facebook/presto/server/PrestoSystemRequirements.class"


def scanned(
    path: Path, catalog: Catalog, target: Platform = TARGET, runtime: Runtime = ANY_GLIBC
) -> Inventory:
    return scan(open_source(path.name, path), catalog, target, Silent(), runtime)


def of(
    tmp_path: Path, catalog: Catalog, files: Mapping[str, Made], runtime: Runtime = ANY_GLIBC
) -> Inventory:
    """The scan of a tarball of these files below `top`."""
    path = tarball(tmp_path / "x.tar.gz", {f"top/{name}": made for name, made in files.items()})
    found = scanned(path, catalog, runtime=runtime)
    assert found.distribution.root == "top"
    return found


def gap(inventory: Inventory) -> Gap:
    (one,) = inventory.gaps
    return one


def test_the_small_pulsar_has_its_one_gap(tmp_path: Path, catalog: Catalog) -> None:
    found = scanned(pulsar_tarball(tmp_path / "x.tar.gz"), catalog)
    one = gap(found)
    assert (one.library, one.version, one.scope, one.kind, one.severity) == (
        "rocksdbjni",
        "9.9.9",
        "lib",
        "missing",
        "fatal",
    )
    assert one.locations == ("lib/org.rocksdb-rocksdbjni-9.9.9.jar",)
    assert one.present == ("x86", "x86_64")
    assert one.reason.startswith("a bookie does not start")
    assert found.summary() == {"fatal": 1, "feature": 0, "degraded": 0, "harmless": 0}
    assert found.distribution.version == "9.9.9"
    assert (found.checks, found.unreadable) == ((), ())


def test_a_tarball_and_its_folder_are_judged_alike(tmp_path: Path, catalog: Catalog) -> None:
    packed = scanned(pulsar_tarball(tmp_path / "x.tar.gz"), catalog)
    unpacked = scanned(pulsar_folder(tmp_path / "folder"), catalog)
    assert packed.gaps == unpacked.gaps
    assert sorted(packed.libraries, key=str) == sorted(unpacked.libraries, key=str)


def test_the_target_is_a_parameter(tmp_path: Path, catalog: Catalog) -> None:
    assert scanned(pulsar_tarball(tmp_path / "x.tar.gz"), catalog, OTHER).gaps == ()


def test_libraries_are_told_with_what_their_headers_say(tmp_path: Path, catalog: Catalog) -> None:
    jar = jar_bytes(
        {"a.so": elf_bytes(), "b.so": elf_bytes(X86_64), "c.dll": pe_bytes(), "d": fat_bytes(7, 0x0100000C)}
    )
    found = of(tmp_path, catalog, {"lib/made-1.0.jar": jar, "lib/x": None})
    place = ("made", "1.0", "lib")
    assert found.libraries == (
        Native(
            *place,
            "lib/made-1.0.jar!/a.so",
            "elf",
            "aarch64",
            "linux",
            "glibc",
            (("GLIBC", "2.17"),),
            65536,
            "",
            needed=("libc.so.6",),
            loads=(65536,),
        ),
        Native(*place, "lib/made-1.0.jar!/b.so", "elf", "x86_64", "linux", "", (), 0, ""),
        Native(*place, "lib/made-1.0.jar!/c.dll", "pe", "x86_64", "windows", "", (), 0, ""),
        Native(*place, "lib/made-1.0.jar!/d", "mach-o", "x86", "osx", "", (), 0, ""),
        Native(*place, "lib/made-1.0.jar!/d", "mach-o", "aarch64", "osx", "", (), 0, ""),
    )
    assert found.gaps == ()


def test_a_library_without_an_override_is_a_feature_gap(tmp_path: Path, catalog: Catalog) -> None:
    one = gap(of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes({"a.so": elf_bytes(X86_64)})}))
    assert (one.severity, one.present) == ("feature", ("x86_64",))
    assert one.reason.startswith("not in the catalog")


def test_the_build_for_the_target_may_lie_in_a_sibling_jar(tmp_path: Path, catalog: Catalog) -> None:
    files = {
        "lib/made-1.0-linux-x86_64.jar": jar_bytes({"a.so": elf_bytes(X86_64)}),
        "lib/made-1.0-linux-aarch64.jar": jar_bytes({"a.so": elf_bytes()}),
    }
    assert of(tmp_path, catalog, files).gaps == ()


def test_a_sibling_in_another_class_path_does_not_help(tmp_path: Path, catalog: Catalog) -> None:
    files = {
        "lib/made-1.0.jar": jar_bytes({"a.so": elf_bytes(X86_64)}),
        "lib/presto/lib/made-1.0.jar": jar_bytes({"a.so": elf_bytes()}),
    }
    assert gap(of(tmp_path, catalog, files)).scope == "lib"


def test_a_library_for_no_linux_has_no_gap(tmp_path: Path, catalog: Catalog) -> None:
    others = {
        "a.dll": pe_bytes(),
        "b.jnilib": macho_bytes(),
        "c.so": elf_head(62, system=9) + bytes(100),
        "native/SunOS/x.so": elf_bytes(X86_64),
        "native/FreeBSD-x86_64/x.so": elf_bytes(X86_64),
        "lib/android-arm/x.so": elf_bytes(40),
        "jni/x86_64-OpenBSD/x.so": elf_bytes(X86_64),
    }
    found = of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes(others)})
    assert found.gaps == ()
    assert len(found.libraries) == len(others)


def test_androids_library_for_the_target_is_none_of_linux(tmp_path: Path, catalog: Catalog) -> None:
    natives = {
        "bionic.so": elf_bytes(needed=("libc.so", "liblog.so"), versions={}),
        "x.so": elf_bytes(X86_64),
    }
    assert gap(of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes(natives)})).present == ("x86_64",)


MUSL = elf_bytes(needed=("libc.musl-aarch64.so.1",), versions={})


@pytest.mark.parametrize(("libc", "gaps"), [("glibc", 1), ("musl", 0)])
def test_a_library_must_fit_the_c_library(tmp_path: Path, catalog: Catalog, libc: str, gaps: int) -> None:
    files = {"lib/made-1.0.jar": jar_bytes({"a.so": MUSL})}
    assert len(of(tmp_path, catalog, files, named_runtime(libc)).gaps) == gaps


def test_what_is_there_and_would_not_load_is_unfit_as_badly_as_if_it_were_missing(
    tmp_path: Path, catalog: Catalog
) -> None:
    new = elf_bytes(versions={"libc.so.6": ["GLIBC_2.34"]})
    files = {"lib/org.rocksdb-rocksdbjni-5.1.jar": jar_bytes({"librocksdbjni-linux-aarch64.so": new})}
    assert of(tmp_path, catalog, files).gaps == ()
    found = of(tmp_path, catalog, files, named_runtime("glibc-2.28"))
    one = gap(found)
    assert (one.kind, one.severity, one.present) == ("unfit", "fatal", ("aarch64",))
    assert one.reason.endswith("(librocksdbjni-linux-aarch64.so needs GLIBC_2.34, which glibc 2.28 lacks)")
    assert found.runtime == named_runtime("glibc-2.28")
    assert found.libraries[0].misfit == "needs GLIBC_2.34, which glibc 2.28 lacks"


def test_one_library_that_fits_is_enough(tmp_path: Path, catalog: Catalog) -> None:
    files = {
        "lib/made-1.0.jar": jar_bytes({"musl/a.so": MUSL, "glibc/a.so": elf_bytes()}),
    }
    for libc in ("glibc", "musl"):
        found = of(tmp_path, catalog, files, named_runtime(libc))
        assert found.gaps == ()
        assert sorted(bool(one.misfit) for one in found.libraries) == [False, True]


def test_a_loader_that_tells_libcs_apart_is_asked_for_the_right_name(
    tmp_path: Path, catalog: Catalog
) -> None:
    natives = {"librocksdbjni-linux-aarch64.so": elf_bytes(), "librocksdbjni-linux-aarch64-musl.so": MUSL}
    files = {"lib/org.rocksdb-rocksdbjni-7.1.jar": jar_bytes(natives)}
    assert of(tmp_path, catalog, files, named_runtime("musl")).gaps == ()
    del natives["librocksdbjni-linux-aarch64-musl.so"]
    files = {"lib/org.rocksdb-rocksdbjni-7.1.jar": jar_bytes(natives)}
    one = gap(of(tmp_path, catalog, files, named_runtime("musl")))
    assert one.kind == "missing"
    assert "its loader asks for librocksdbjni-linux-aarch64-musl.so" in one.reason


def test_a_library_of_the_same_jar_need_not_be_in_the_system(tmp_path: Path, catalog: Catalog) -> None:
    empty = Runtime("glibc", "2.28", libraries={"libc.so.6": frozenset({"GLIBC_2.17"})})
    user = elf_bytes(needed=("libc.so.6", "libbeside.so"))
    files = {"lib/made-1.0.jar": jar_bytes({"a.so": user, "libbeside.so": elf_bytes()})}
    assert of(tmp_path, catalog, files, empty).gaps == ()
    alone = gap(of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes({"a.so": user})}, empty))
    assert alone.reason.endswith("(a.so needs libbeside.so, which glibc 2.28 lacks)")


def test_of_an_unknown_library_every_file_wants_its_build(tmp_path: Path, catalog: Catalog) -> None:
    both = {"native/linux-x86_64/a.so": elf_bytes(X86_64), "native/linux-aarch64/a.so": elf_bytes()}
    files = {"lib/fat-1.0.jar": jar_bytes(both)}
    assert of(tmp_path, catalog, files).gaps == ()
    lone = {"other/libx_amd64.so": elf_bytes(X86_64)}
    one = gap(of(tmp_path, catalog, {"lib/fat-1.0.jar": jar_bytes(both | lone)}))
    assert (one.kind, one.severity) == ("missing", "feature")
    assert one.reason.endswith("(libx_amd64.so has no build for aarch64 beside it)")


def test_a_build_under_a_name_of_its_own_is_taken_for_the_counterpart(
    tmp_path: Path, catalog: Catalog
) -> None:
    natives = {"for-intel.so": elf_bytes(X86_64), "for-arm.so": elf_bytes()}
    assert of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes(natives)}).gaps == ()


def test_a_file_for_rare_machines_only_wants_no_build(tmp_path: Path, catalog: Catalog) -> None:
    natives = {"x_x86_64.so": elf_bytes(X86_64), "x_aarch_64.so": elf_bytes(), "y_ppc64.so": elf_bytes(PPC64)}
    assert of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes(natives)}).gaps == ()


def test_a_copy_in_another_jar_counts_on_its_own_and_as_badly_as_the_library(
    tmp_path: Path, catalog: Catalog
) -> None:
    shaded = "META-INF/native/liborg_made_shade_netty_tcnative_linux_x86_64.so"
    files = {
        "lib/fat-1.0.jar": jar_bytes({shaded: elf_bytes(X86_64)}),
        "lib/netty-tcnative-boringssl-static-2.0.31.Final.jar": jar_bytes(
            {
                "META-INF/native/libnetty_tcnative_linux_x86_64.so": elf_bytes(X86_64),
                "META-INF/native/libnetty_tcnative_linux_aarch_64.so": elf_bytes(),
            }
        ),
    }
    one = gap(of(tmp_path, catalog, files))
    assert (one.library, one.severity) == ("fat", "degraded")
    assert one.reason.endswith("; judged as netty-tcnative-boringssl-static, which it holds a copy of")


def test_a_loader_that_knows_no_aarch64_asks_for_the_library_of_another_machine(
    tmp_path: Path, catalog: Catalog
) -> None:
    one = gap(
        of(tmp_path, catalog, {"lib/org.rocksdb-rocksdbjni-6.2.2.jar": rocksdb_jar("6.2.2", AARCH64, X86_64)})
    )
    assert (one.kind, one.severity, one.present) == ("missing", "fatal", ("aarch64", "x86_64"))
    assert one.reason.endswith(
        "(it holds librocksdbjni-linux-aarch64.so, but its loader asks for librocksdbjni-linux64.so)"
    )
    fits = {"lib/org.rocksdb-rocksdbjni-6.4.6.jar": rocksdb_jar("6.4.6", AARCH64, X86_64)}
    assert of(tmp_path, catalog, fits).gaps == ()


def test_hazards_are_told_and_are_no_gap_of_themselves(tmp_path: Path, catalog: Catalog) -> None:
    odd = elf_bytes(stack=7, text_relocations=True, holds=b"<jemalloc>: ")
    files = {"lib/made-1.0.jar": jar_bytes({"a.so": odd})}
    found = of(tmp_path, catalog, files)
    assert found.libraries[0].hazards == ("executable-stack", "text-relocations", "jemalloc")
    assert found.gaps == ()
    assert gap(of(tmp_path, catalog, files, named_runtime(page_size="64k"))).kind == "unfit"


def test_a_library_under_a_name_its_loader_does_not_ask_for_is_missing(
    tmp_path: Path, catalog: Catalog
) -> None:
    jar = jar_bytes({"librocksdbjni-linux64.so": elf_bytes(X86_64), "misnamed.so": elf_bytes()})
    one = gap(of(tmp_path, catalog, {"lib/org.rocksdb-rocksdbjni-5.1.jar": jar}))
    assert one.kind == "missing"
    assert one.reason.endswith(
        "(it holds misnamed.so, but its loader asks for librocksdbjni-linux-aarch64.so)"
    )
    assert one.present == ("aarch64", "x86_64")


def test_a_name_that_is_asked_for_may_stand_in_any_jar_of_the_class_path(
    tmp_path: Path, catalog: Catalog
) -> None:
    files = {
        "lib/org.rocksdb-rocksdbjni-5.1.jar": rocksdb_jar("5.1", X86_64),
        "lib/other-1.jar": jar_bytes({"librocksdbjni-linux-aarch64.so": elf_bytes()}),
    }
    assert of(tmp_path, catalog, files).gaps == ()


def test_an_asked_name_of_another_machine_does_not_count(tmp_path: Path, catalog: Catalog) -> None:
    jar = jar_bytes({"librocksdbjni-linux-aarch64.so": elf_bytes(X86_64)})
    assert gap(of(tmp_path, catalog, {"lib/org.rocksdb-rocksdbjni-5.1.jar": jar})).kind == "missing"


def test_a_version_known_to_be_bad_is_broken_where_it_is_there(tmp_path: Path, catalog: Catalog) -> None:
    name = "org/xerial/snappy/native/Linux/aarch64/libsnappyjava.so"
    jar = jar_bytes({name: elf_bytes(), "x.so": elf_bytes(X86_64)})
    one = gap(of(tmp_path, catalog, {"lib/org.xerial.snappy-snappy-java-1.1.7.jar": jar}))
    assert (one.kind, one.severity) == ("broken", "fatal")
    assert "damages data" in one.reason
    assert of(tmp_path, catalog, {"lib/org.xerial.snappy-snappy-java-1.1.8.jar": jar}).gaps == ()


def test_a_damaged_library_of_the_target_is_a_gap_with_a_note(tmp_path: Path, catalog: Catalog) -> None:
    found = of(tmp_path, catalog, {"lib/made-1.0.jar": jar_bytes({"a.so": elf_bytes()[:300]})})
    assert gap(found).present == ("aarch64",)
    assert "its ELF structure is damaged: " in gap(found).reason
    assert found.libraries[0].note.startswith("its ELF structure is damaged")


def test_severity_depends_on_the_class_path_and_the_worst_comes_first(
    tmp_path: Path, catalog: Catalog
) -> None:
    files = {
        "lib/presto/plugin/p/rocksdbjni-5.13.3.jar": rocksdb_jar("5.13.3", X86_64),
        "lib/org.rocksdb-rocksdbjni-5.13.3.jar": rocksdb_jar("5.13.3", X86_64, X86),
        "lib/circe-checksum-4.1.jar": jar_bytes({"lib/libcirce-checksum.so": elf_bytes(X86_64)}),
    }
    found = of(tmp_path, catalog, files)
    assert [(one.severity, one.scope) for one in found.gaps] == [
        ("fatal", "lib"),
        ("degraded", "lib"),
        ("harmless", "lib/presto/plugin/p"),
    ]
    assert found.summary() == {"fatal": 1, "feature": 0, "degraded": 1, "harmless": 1}


def test_two_jars_of_one_library_and_version_are_one_gap(tmp_path: Path, catalog: Catalog) -> None:
    jar = jar_bytes({"a.so": elf_bytes(X86_64)})
    files = {"lib/made-1.0-linux-x86_64.jar": jar, "lib/made-1.0.jar": jar}
    assert gap(of(tmp_path, catalog, files)).locations == (
        "lib/made-1.0-linux-x86_64.jar",
        "lib/made-1.0.jar",
    )


def presto(arch: list[str], vendor: list[str] | None = None) -> dict[str, Made]:
    made = made_presto(arch, vendor) if vendor else made_presto(arch)
    return {"lib/presto/lib/presto-main-0.1.jar": jar_bytes({CHECK: made.build()}), "README": b""}


AMD64 = ['ldc "amd64"', "aload_3", EQUALS]


def test_a_platform_check_is_told_with_what_it_accepts(tmp_path: Path, catalog: Catalog) -> None:
    found = of(tmp_path, catalog, presto(AMD64, ['ldc "Oracle Corporation"', "aload_0", EQUALS]))
    (check,) = found.checks
    assert (check.location, check.entry) == ("lib/presto/lib/presto-main-0.1.jar", CHECK)
    assert (check.severity, check.accepts) == ("feature", ("amd64",))
    assert check.reason == (
        "Pulsar SQL does not start on aarch64: it accepts only amd64 and "
        "wants a JVM whose vendor is Oracle Corporation"
    )
    assert found.summary()["feature"] == 1


def test_a_check_that_accepts_the_target_is_none(tmp_path: Path, catalog: Catalog) -> None:
    assert of(tmp_path, catalog, presto(['ldc "aarch64"', "aload_3", EQUALS])).checks == ()


def test_a_check_that_cannot_be_read_is_told(tmp_path: Path, catalog: Catalog) -> None:
    jar = jar_bytes({CHECK: b"\xca\xfe\xba\xbe broken"})
    found = of(tmp_path, catalog, {"lib/presto-main-1.jar": jar, "x": b""})
    assert [row.location for row in found.unreadable] == [f"lib/presto-main-1.jar!/{CHECK}"]


def test_what_cannot_be_read_is_told_and_the_rest_is_judged(tmp_path: Path, catalog: Catalog) -> None:
    files = {
        "lib/bad.jar": jar_bytes({"a": b"a"})[:-9],
        "lib/made-1.0.jar": jar_bytes({"a.so": elf_bytes(X86_64)}),
    }
    found = of(tmp_path, catalog, files)
    assert [row.location for row in found.unreadable] == ["lib/bad.jar"]
    assert gap(found).library == "made"


@pytest.mark.parametrize("length", [60, 400, 900, -9])
def test_a_cut_off_tarball_is_told_and_left_untouched(tmp_path: Path, catalog: Catalog, length: int) -> None:
    path = pulsar_tarball(tmp_path / "x.tar.gz")
    path.write_bytes(path.read_bytes()[:length])
    before = path.read_bytes()
    found = scanned(path, catalog)
    assert ["is damaged or cut off" in row.reason for row in found.unreadable] == [True]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_single_jar_is_a_class_path_of_its_own(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "rocksdbjni-5.13.3.jar"
    path.write_bytes(rocksdb_jar("5.13.3", X86_64))
    one = gap(scanned(path, catalog))
    assert (one.scope, one.locations) == (".", ("rocksdbjni-5.13.3.jar",))
    path.write_bytes(rocksdb_jar("5.18.4", X86_64, AARCH64))
    assert scanned(path, catalog).gaps == ()
