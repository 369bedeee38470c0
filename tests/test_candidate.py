from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from builders import X86_64, jar_bytes
from builders_linkage import NATIVE, PUBLIC, Class, class_jar, jni_library

from pulsar_arm.candidate import Candidate, Ground, Objection, graft_entries, judge
from pulsar_arm.catalog import Catalog, load_catalog
from pulsar_arm.errors import InputError
from pulsar_arm.fitness import named_runtime
from pulsar_arm.formats.jar import entry_names
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.platforms import AARCH64
from pulsar_arm.scan import Gap

OLD, USER = "lib/db-1.0.jar", "lib/user.jar"
ARM, X86, MUSL = "native/arm.so", "native/x86.so", "native/arm-musl.so"
OVERRIDE = """
schema = 1
summary = "made"
[[loader]]
machine = "aarch64"
libc = "glibc"
names = ["native/arm.so"]
[[loader]]
machine = "aarch64"
libc = "musl"
names = ["native/arm-musl.so"]
[[bad]]
versions = ["1.7"]
level = "fatal"
reason = "it computes wrong"
"""
STORE = Class("db/Store", declares={"get()V": PUBLIC, "put(I)V": PUBLIC | NATIVE})
EXPORTS = ["Java_db_Store_put"]
FITS = jni_library(EXPORTS)
OLD_JAR = class_jar(STORE, files={X86: jni_library(EXPORTS, machine=X86_64)})
CALLER = class_jar(Class("app/User", uses=["db/Store.get:()V"]))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    place = tmp_path_factory.mktemp("overrides")
    (place / "db.toml").write_text(OVERRIDE)
    return load_catalog(place)


def gap(*locations: str, library: str = "db", scope: str = "lib") -> Gap:
    places = locations or (OLD,)
    return Gap(library, "1.0", scope, "missing", "fatal", places, ("x86_64",), "made")


def offered(content: bytes, action: str = "replace", version: str = "1.1", artifact: str = "db") -> Candidate:
    assert action in ("replace", "add", "graft")
    return Candidate(action, Coordinate("org.made", artifact, version), content)  # type: ignore[arg-type]


def judged(
    candidate: Candidate,
    catalog: Catalog,
    *,
    of: Gap | None = None,
    jars: Mapping[str, bytes] | None = None,
    ground: Ground | None = None,
) -> tuple[Objection, ...]:
    around = {OLD: OLD_JAR, USER: CALLER} if jars is None else jars
    return judge(candidate, of or gap(), around, catalog, ground or Ground(AARCH64, jre=8))


def test_a_candidate_that_links_and_loads_meets_no_objection(catalog: Catalog) -> None:
    assert judged(offered(class_jar(STORE, files={ARM: FITS})), catalog) == ()


def test_a_version_that_is_known_to_be_bad_is_refused_though_it_links(catalog: Catalog) -> None:
    (one,) = judged(offered(class_jar(STORE, files={ARM: FITS}), version="1.7"), catalog)
    assert (one.kind, one.subject) == ("known-bad", "1.7")
    assert str(one) == "db 1.7 is known to be bad: it computes wrong"


def test_a_library_under_a_name_that_nobody_asks_for_is_told_with_both_names(catalog: Catalog) -> None:
    (one,) = judged(offered(class_jar(STORE, files={"native/other.so": FITS})), catalog)
    assert (one.kind, one.subject) == ("loader", ARM)
    assert one.reason == f"it lacks {ARM}, for which its loader asks (it holds native/other.so)"


def test_a_caller_that_would_not_find_a_member_is_named(catalog: Catalog) -> None:
    lesser = Class("db/Store", declares={"put(I)V": PUBLIC | NATIVE})
    (one,) = judged(offered(class_jar(lesser, files={ARM: FITS})), catalog)
    assert (one.kind, one.subject) == ("link", "db/Store.get:()V")
    assert one.reason == f"app/User in {USER} needs db/Store.get:()V, which is gone"


def test_a_native_method_without_its_function_is_named(catalog: Catalog) -> None:
    (one,) = judged(offered(class_jar(STORE, files={ARM: jni_library()})), catalog)
    assert (one.kind, one.subject) == ("native", "db/Store.put:(I)V")


def test_classes_newer_than_the_jre_are_refused(catalog: Catalog) -> None:
    newer = Class("db/Store", declares=STORE.declares, major=55)
    content = class_jar(newer, files={ARM: FITS})
    (one,) = judged(offered(content), catalog)
    assert (one.kind, one.subject) == ("jre", "db/Store (class file version 55)")
    assert judged(offered(content), catalog, ground=Ground(AARCH64, jre=11)) == ()


def test_musl_wants_the_library_of_its_own_name_and_kind(catalog: Catalog) -> None:
    musl = Ground(AARCH64, named_runtime("musl"), 8)
    (one,) = judged(offered(class_jar(STORE, files={ARM: FITS})), catalog, ground=musl)
    assert (one.kind, one.subject) == ("loader", MUSL)
    both = class_jar(STORE, files={ARM: FITS, MUSL: FITS})
    assert judged(offered(both), catalog, ground=musl) == ()


def test_a_jar_beside_leaves_the_old_classes_as_they_are(catalog: Catalog) -> None:
    arm = jar_bytes({ARM: FITS})
    assert judged(offered(arm, "add"), catalog) == ()
    (one, *_more) = judged(offered(arm), catalog)  # in the place of the classes it is the native half only
    assert one.kind == "link"


def test_a_graft_puts_the_library_under_the_name_that_the_old_loader_asks_for(catalog: Catalog) -> None:
    donor = offered(class_jar(STORE, Class("db/New"), files={ARM: FITS}), "graft")
    assert judged(donor, catalog) == ()
    assert graft_entries(donor, gap(), catalog, Ground(AARCH64)) == (ARM, FITS)


@pytest.mark.parametrize(
    ("so", "subject"),
    [
        (jni_library(), "db/Store.put:(I)V"),
        (jni_library([*EXPORTS, "JNI_OnLoad"], [("sync", "()V")]), "sync:()V"),
    ],
)
def test_a_graft_whose_methods_differ_from_the_old_classes_is_refused(
    catalog: Catalog, so: bytes, subject: str
) -> None:
    (one,) = judged(offered(class_jar(STORE, files={ARM: so}), "graft"), catalog)
    assert (one.kind, one.subject) == ("native", subject)


def test_a_graft_without_a_library_or_a_known_loader_is_refused(catalog: Catalog) -> None:
    (one,) = judged(offered(class_jar(STORE), "graft"), catalog)
    assert one.reason == f"org.made:db:1.1 holds no {ARM} for aarch64"
    stranger = gap(library="stranger")
    (one,) = judged(offered(class_jar(STORE, files={ARM: FITS}), "graft", artifact="s"), catalog, of=stranger)
    assert one.reason == "stranger has no names in the catalog that its loader asks for"


def test_signed_jars_are_not_broken(catalog: Catalog) -> None:
    signed = class_jar(STORE, files={X86: FITS, "META-INF/MADE.SF": b"Signature-Version: 1.0\n"})
    donor = offered(class_jar(STORE, files={ARM: FITS}), "graft")
    (one,) = judged(donor, catalog, jars={OLD: signed})
    assert one.kind == "place"
    assert "it is signed" in one.reason
    # A signed jar may well go as a whole; one in a signed NAR may not.
    whole = offered(class_jar(STORE, files={ARM: FITS}))
    assert judged(whole, catalog, jars={OLD: signed}) == ()
    nested = f"x.nar!/{OLD}"
    (one,) = judged(whole, catalog, of=gap(nested, scope="x.nar"), jars={nested: OLD_JAR, "x.nar": signed})
    assert (one.kind, one.subject) == ("place", "x.nar")


def test_a_gap_of_something_that_is_no_jar_is_not_mended_by_one(catalog: Catalog) -> None:
    (one,) = judged(offered(class_jar(STORE)), catalog, of=gap("bin/db.so"))
    assert (one.kind, one.subject) == ("place", "bin/db.so")


def test_a_jar_of_another_name_has_its_own_loader_names(tmp_path: Path) -> None:
    (tmp_path / "db.toml").write_text(OVERRIDE)
    (tmp_path / "db-java.toml").write_text(OVERRIDE.replace("native/arm.so", "new/arm.so"))
    known = load_catalog(tmp_path)
    renamed = class_jar(STORE, files={"new/arm.so": FITS})
    assert judged(offered(renamed, artifact="db-java"), known) == ()
    donor = offered(renamed, "graft", artifact="db-java")
    assert graft_entries(donor, gap(), known, Ground(AARCH64)) == (ARM, FITS)
    assert judged(donor, known) == ()


def test_a_candidate_that_is_no_jar_is_an_error(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="damaged"):
        judged(offered(b"<html>"), catalog)
    assert ARM not in entry_names(OLD_JAR)
