"""Each kind of trap that a replacement can be, on a published jar that is one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pulsar_arm.candidate import Candidate, Ground, Objection, judge
from pulsar_arm.catalog import Action, Catalog, LoaderNames, load_catalog
from pulsar_arm.fitness import named_runtime
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.options import default_cache
from pulsar_arm.platforms import AARCH64
from pulsar_arm.scan import Gap

pytestmark = pytest.mark.real

BOOKKEEPER = "org.apache.bookkeeper:bookkeeper-server:4.10.0"
HANDLER = "io.netty:netty-handler:{}.Final"
EPOLL = "io.netty:netty-transport-native-epoll:{}.Final:jar:{}"
TCNATIVE = "io.netty:netty-tcnative-boringssl-static:{}.Final"
CONSCRYPT = "org.conscrypt:conscrypt-openjdk-uber:{}"
SNAPPY = "org.xerial.snappy:snappy-java:{}"
ROCKSDB = "org.rocksdb:rocksdbjni:{}"
OLD_EPOLL = (
    EPOLL.format("4.1.48", "linux-x86_64"),
    *(f"io.netty:netty-{part}:4.1.48.Final" for part in ("transport", "common", "buffer", "resolver")),
    "io.netty:netty-transport-native-unix-common:4.1.48.Final",
)
MUSL = "librocksdbjni-linux-aarch64-musl.so"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def judged(
    candidate: str,
    old: str,
    *beside: str,
    catalog: Catalog,
    action: Action = "replace",
    jre: int = 8,
    libc: str = "glibc",
) -> tuple[Objection, ...]:
    """What stands against a published jar in the place of `old`, with `beside` in the class path."""
    repository = Repository(default_cache(), progress=Silent())

    def content(coordinate: str) -> bytes:
        return repository.fetch(Coordinate.parse(coordinate)).path.read_bytes()

    first, wanted = Coordinate.parse(old), Coordinate.parse(candidate)
    jars = {f"lib/{Coordinate.parse(one).file}": content(one) for one in (old, *beside)}
    where = (f"lib/{first.file}",)
    gap = Gap(first.artifact, first.version, "lib", "missing", "fatal", where, ("x86_64",), "")
    ground = Ground(AARCH64, named_runtime(libc), jre)
    return judge(Candidate(action, wanted, content(candidate)), gap, jars, catalog, ground)


def test_a_library_under_a_name_that_its_loader_never_asks_for(catalog: Catalog) -> None:
    old = TCNATIVE.format("2.0.30")
    (one,) = judged(TCNATIVE.format("2.0.34"), old, HANDLER.format("4.1.48"), catalog=catalog)
    assert (one.kind, one.subject) == ("loader", "META-INF/native/libnetty_tcnative_linux_aarch_64.so")
    assert "it holds META-INF/native/libnetty_tcnative_linux_aarch64.so" in one.reason
    assert judged(TCNATIVE.format("2.0.31"), old, HANDLER.format("4.1.48"), catalog=catalog) == ()


def test_a_constructor_that_one_caller_needs_is_gone(catalog: Catalog) -> None:
    (one,) = judged(ROCKSDB.format("6.29.5"), ROCKSDB.format("5.13.3"), BOOKKEEPER, catalog=catalog)
    assert (one.kind, one.subject) == ("link", "org/rocksdb/BloomFilter.<init>:(IZ)V")
    assert "org/apache/bookkeeper/bookie/storage/ldb/KeyValueStorageRocksDB" in one.reason
    assert judged(ROCKSDB.format("5.18.4"), ROCKSDB.format("5.13.3"), BOOKKEEPER, catalog=catalog) == ()


def test_a_swap_would_make_the_library_available_and_fail_at_its_first_class(catalog: Catalog) -> None:
    candidate = EPOLL.format("4.1.55", "linux-aarch_64")
    (one,) = judged(candidate, *OLD_EPOLL, catalog=catalog)
    assert (one.kind, one.subject) == ("link", "io/netty/channel/socket/DuplexChannelConfig")


def test_a_method_that_has_to_be_implemented_now(catalog: Catalog) -> None:
    old, user = CONSCRYPT.format("2.5.2"), HANDLER.format("4.1.77")
    found = judged(CONSCRYPT.format("2.6.0"), old, user, catalog=catalog)
    assert {one.kind for one in found} == {"link"}
    assert found[0].reason.endswith("which must be implemented now")


def test_a_version_that_computes_wrong(catalog: Catalog) -> None:
    (one,) = judged(SNAPPY.format("1.1.7"), SNAPPY.format("1.1.7"), catalog=catalog)
    assert one.kind == "known-bad"
    assert judged(SNAPPY.format("1.1.8.4"), SNAPPY.format("1.1.7"), catalog=catalog) == ()


@pytest.mark.parametrize(("version", "answer"), [("4.1.55", []), ("4.1.58", []), ("4.1.59", ["native"])])
def test_a_graft_whose_library_registers_a_method_that_the_old_classes_lack(
    catalog: Catalog, version: str, answer: list[str]
) -> None:
    donor = EPOLL.format(version, "linux-aarch_64")
    assert [one.kind for one in judged(donor, *OLD_EPOLL, catalog=catalog, action="graft")] == answer


@pytest.mark.parametrize(("libc", "answer"), [("glibc-2.28", ["system"]), ("glibc-2.34", []), ("glibc", [])])
def test_a_library_that_needs_a_newer_glibc(catalog: Catalog, libc: str, answer: list[str]) -> None:
    candidate, old = CONSCRYPT.format("2.6.1"), CONSCRYPT.format("2.5.2")
    found = judged(candidate, old, catalog=catalog, libc=libc)
    assert [one.kind for one in found] == answer
    assert all("GLIBC_2.34" in one.reason for one in found)


def test_libraries_for_musl_and_android_are_no_remedy_and_no_harm(catalog: Catalog) -> None:
    names = LoaderNames("aarch64", "glibc", ("*",), (MUSL,))
    mistaken = {**catalog, "rocksdbjni": replace(catalog["rocksdbjni"], loaders=(names,))}
    found = judged(ROCKSDB.format("6.5.2"), ROCKSDB.format("5.13.3"), catalog=mistaken)
    assert ("system", MUSL) in [(one.kind, one.subject) for one in found]
    assert judged(SNAPPY.format("1.1.10.8"), SNAPPY.format("1.1.7"), catalog=catalog) == ()


def test_the_native_half_of_a_pair_of_jars(catalog: Catalog) -> None:
    candidate = TCNATIVE.format("2.0.52") + ":jar:linux-aarch_64"
    found = judged(candidate, TCNATIVE.format("2.0.30"), HANDLER.format("4.1.48"), catalog=catalog)
    assert {"link", "native"} == {one.kind for one in found}
    assert found[0].subject.startswith("io/netty/internal/tcnative/")


def test_classes_newer_than_the_jre(catalog: Catalog) -> None:
    found = judged("org.jline:jline:3.26.3", "jline:jline:2.14.6", catalog=catalog)
    assert "jre" in {one.kind for one in found}
