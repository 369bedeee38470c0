from __future__ import annotations

from collections.abc import Sequence

import pytest
from builders import X86_64
from builders_linkage import (
    ABSTRACT,
    FINAL,
    INTERFACE,
    NATIVE,
    PRIVATE,
    PUBLIC,
    STATIC,
    Class,
    class_jar,
    jni_library,
)

from pulsar_arm.errors import InputError
from pulsar_arm.formats.jni import mangle
from pulsar_arm.formats.symbols import read_symbols
from pulsar_arm.linkage import LinkReport, Missing, link

SO = "native/libdb.so"
FITTING = {SO: jni_library()}


def library(*classes: Class, so: bytes | None = None, machine: int | None = None) -> bytes:
    return class_jar(*classes, files={SO: so or FITTING[SO]})


def judged(
    old: bytes, new: bytes, *beside: bytes, asks: Sequence[str] = (SO,), jre: int | None = 8
) -> LinkReport:
    jars = [(f"lib/{number}.jar", jar) for number, jar in enumerate(beside)]
    return link(
        lambda: jars, [("lib/old.jar", old)], [("new.jar", new)], asks=asks, machine="aarch64", jre=jre
    )


def test_a_replacement_that_has_all_that_is_used_links() -> None:
    db = {"get(I)I": PUBLIC, "size:I": PUBLIC}
    user = class_jar(Class("app/User", uses=["db/Store.get:(I)I", "db/Store.size:I", "db/Store"]))
    report = judged(
        library(Class("db/Store", declares=db | {"old()V": PUBLIC})),
        library(Class("db/Store", declares=db)),
        user,
    )
    assert report == LinkReport(library=SO)
    assert report.links


@pytest.mark.parametrize(
    "use",
    ["db/Store.get:(I)I", "db/Store.size:I", "db/Store.<init>:(IZ)V", "db/Gone", "db/Gone.make:()V"],
)
def test_what_is_gone_is_named_with_its_caller(use: str) -> None:
    old = Class("db/Store", declares={"get(I)I": PUBLIC, "size:I": PUBLIC, "<init>(IZ)V": PUBLIC})
    report = judged(
        library(old, Class("db/Gone", declares={"make()V": PUBLIC})),
        library(Class("db/Store", declares={"get(J)I": PUBLIC, "size:J": PUBLIC, "<init>(I)V": PUBLIC})),
        class_jar(Class("app/User", uses=[use])),
    )
    assert Missing("app/User", use, "lib/0.jar") in report.missing
    assert f"app/User in lib/0.jar needs {use}, which is gone" in report.reasons()
    assert not report.links


def test_members_are_found_in_superclasses_and_interfaces() -> None:
    old = Class("db/Store", declares={"get(I)I": PUBLIC, "LIMIT:I": PUBLIC | STATIC})
    new = (
        Class("db/Store", parent="db/Base", interfaces=["db/Limits"]),
        Class("db/Base", declares={"get(I)I": PUBLIC}),
        Class("db/Limits", access=INTERFACE | ABSTRACT | PUBLIC, declares={"LIMIT:I": PUBLIC | STATIC}),
    )
    user = class_jar(Class("app/User", uses=["db/Store.get:(I)I", "db/Store.LIMIT:I"]))
    assert judged(library(old), library(*new), user).links


def test_a_constructor_is_not_inherited() -> None:
    old = Class("db/Store", declares={"<init>(Z)V": PUBLIC})
    new = (Class("db/Store", parent="db/Base"), Class("db/Base", declares={"<init>(Z)V": PUBLIC}))
    report = judged(library(old), library(*new), class_jar(Class("app/User", uses=["db/Store.<init>:(Z)V"])))
    assert [one.member for one in report.missing] == ["db/Store.<init>:(Z)V"]


def test_what_java_gives_need_not_be_in_the_library() -> None:
    old = Class(
        "db/Failure", parent="java/lang/Exception", declares={"getMessage()Ljava/lang/String;": PUBLIC}
    )
    new = Class("db/Failure", parent="java/lang/Exception")
    uses = ["db/Failure.getMessage:()Ljava/lang/String;", "db/Failure.hashCode:()I"]
    assert judged(library(old), library(new), class_jar(Class("app/User", uses=uses))).links


@pytest.mark.parametrize(
    ("before", "after", "how"),
    [
        (PUBLIC, PUBLIC | STATIC, "is static now"),
        (PUBLIC | STATIC, PUBLIC, "is no longer static"),
        (PUBLIC, PRIVATE, "is less accessible now"),
        (PUBLIC, 0, "is less accessible now"),
    ],
)
def test_a_member_that_changed_its_kind_does_not_link(before: int, after: int, how: str) -> None:
    old, new = (Class("db/Store", declares={"get()V": access}) for access in (before, after))
    report = judged(library(old), library(new), class_jar(Class("app/User", uses=["db/Store.get:()V"])))
    assert [one.how for one in report.missing] == [how]


def test_a_class_that_became_an_interface_does_not_link() -> None:
    old = Class("db/Store", declares={"get()V": PUBLIC})
    new = Class("db/Store", access=INTERFACE | ABSTRACT | PUBLIC, declares={"get()V": PUBLIC | ABSTRACT})
    report = judged(library(old), library(new), class_jar(Class("app/User", uses=["db/Store.get:()V"])))
    assert [one.how for one in report.missing] == ["belongs to an interface now"]


def test_members_used_through_a_derived_class_are_followed_through_the_class_path() -> None:
    old = Class("db/Store", declares={"close()V": PUBLIC})
    derived = class_jar(Class("app/MyStore", parent="db/Store"))
    further = class_jar(Class("far/YourStore", parent="app/MyStore"))
    user = class_jar(Class("web/User", uses=["far/YourStore.close:()V"]))
    report = judged(library(old), library(Class("db/Store")), user, further, derived)
    assert report.missing == (Missing("web/User", "far/YourStore.close:()V", "lib/0.jar"),)


def test_a_derived_class_must_implement_what_became_abstract() -> None:
    def allocator(*methods: str) -> bytes:
        return library(
            Class(
                "db/Allocator",
                access=ABSTRACT | PUBLIC,
                declares=dict.fromkeys(methods, PUBLIC | ABSTRACT),
            )
        )

    user = class_jar(Class("app/Mine", parent="db/Allocator", declares={"direct()V": PUBLIC}))
    report = judged(allocator("direct()V"), allocator("direct()V", "heap()V"), user)
    assert report.missing == (
        Missing("app/Mine", "db/Allocator.heap:()V", "lib/0.jar", "must be implemented now"),
    )


@pytest.mark.parametrize(
    "new",
    [Class("db/Base", declares={"run()V": PUBLIC | FINAL}), Class("db/Base", access=PUBLIC | FINAL)],
)
def test_what_became_final_can_no_longer_be_derived_from(new: Class) -> None:
    old = Class("db/Base", declares={"run()V": PUBLIC})
    user = class_jar(Class("app/Mine", parent="db/Base", declares={"run()V": PUBLIC}))
    assert {one.how for one in judged(library(old), library(new), user).missing} == {"is final now"}


def test_what_only_the_replacement_needs_must_be_in_the_class_path() -> None:
    uses = ["glue/Schema", "glue/Schema.name:()V", "log/Logger.warn:()V", "java/util/HexFormat"]
    new = library(Class("db/Store", uses=uses))
    logger = class_jar(Class("log/Logger", declares={"info()V": PUBLIC}))
    report = judged(library(Class("db/Store")), new, logger)
    assert {(one.member, one.how, one.jar) for one in report.missing} == {
        ("glue/Schema", "is nowhere in the class path", "new.jar"),
        ("glue/Schema.name:()V", "is nowhere in the class path", "new.jar"),
        ("log/Logger.warn:()V", "is not there", "new.jar"),
    }


def test_what_the_old_library_already_lacked_is_no_loss() -> None:
    classes = Class("db/Store", uses=["osgi/Activator"])
    assert judged(library(classes), library(classes)).links


def test_a_class_that_moved_to_a_jar_beside_is_there() -> None:
    user = class_jar(Class("app/User", uses=["db/Moved"]))
    moved = class_jar(Class("db/Moved"))
    assert judged(library(Class("db/Moved")), library(Class("db/Store")), user, moved).links


def test_each_native_method_needs_its_function() -> None:
    methods = {"open(J)J": PUBLIC | NATIVE, "put([B)V": NATIVE, "put(I)V": NATIVE, "lost()V": NATIVE}
    store = Class("db/Store", declares=methods)
    exports = ["Java_db_Store_open", "Java_db_Store_put___3B", "Java_db_Store_put__I"]
    report = judged(library(store), library(store, so=jni_library(exports)))
    assert report.unbound == ("db/Store.lost:()V",)


def test_a_native_method_that_no_machine_has_a_function_for_is_lost_to_nobody() -> None:
    store = Class("db/Store", declares={"leftover()V": NATIVE})
    files = {SO: jni_library(), "native/x86.so": jni_library(machine=X86_64)}
    new = class_jar(store, files=files)
    assert judged(library(store), new).links
    user = class_jar(Class("app/User", uses=["db/Store.leftover:()V"]))
    assert judged(library(store), new, user).unbound == ("db/Store.leftover:()V",)


@pytest.mark.parametrize("packed", [False, True])
def test_registered_methods_are_compared_with_the_classes(packed: bool) -> None:
    so = jni_library(["JNI_OnLoad"], [("wait", "(IJ)I"), ("registerUnix", "()I")], packed=packed)
    native = Class(
        "net/Native", declares={"wait(IJ)I": NATIVE, "sendTo(Lnet/Address;)I": NATIVE, "none()V": NATIVE}
    )
    report = judged(library(native), library(native, so=so))
    assert report.rejected == ("registerUnix:()I",)
    assert report.unbound == ("net/Native.none:()V", "net/Native.sendTo:(Lnet/Address;)I")


def test_a_table_made_at_run_time_is_trusted_when_the_name_is_there() -> None:
    so = jni_library(["JNI_OnLoad"], [("wait", "()I")], ["sendTo"])
    native = Class("net/Native", declares={"wait()I": NATIVE, "sendTo(Lnet/Address;)I": NATIVE})
    assert judged(library(native), library(native, so=so)).links


def test_a_classifier_jar_serves_the_classes_beside_it() -> None:
    so = jni_library(["JNI_OnLoad"], [("wait", "()I"), ("other", "()I")], ["net/Native"])
    beside = [("lib/classes.jar", class_jar(Class("io/net/Native", declares={"wait()I": NATIVE})))]
    added = class_jar(files={SO: so})
    report = link(lambda: beside, [], [("native.jar", added)], asks=[SO], machine="aarch64", jre=8)
    assert report.rejected == ("other:()I",)
    assert report.missing == ()


def test_a_shaded_copy_of_the_classes_has_a_library_of_its_own() -> None:
    so = jni_library(["JNI_OnLoad"], [("wait", "()I")], ["net/Native"])
    x86 = jni_library(["JNI_OnLoad"], [("wait", "()I")], ["net/Native"], machine=X86_64)
    classes = class_jar(Class("net/Native", declares={"wait()I": NATIVE}), files={"native/x86.so": x86})
    shaded = class_jar(Class("shaded/net/Native", declares={"wait()I": NATIVE, "old()I": NATIVE}))
    report = judged(
        classes,
        class_jar(Class("net/Native", declares={"wait()I": NATIVE}), files={SO: so, "native/x86.so": x86}),
        shaded,
    )
    assert report.links


def test_without_a_known_jre_the_old_jar_tells_what_is_not_too_new() -> None:
    def newer(old: int, new: int) -> tuple[str, ...]:
        before, after = library(Class("db/Store", major=old)), library(Class("db/Store", major=new))
        return judged(before, after, jre=None).too_new

    assert newer(50, 52) == newer(61, 61) == ()
    assert newer(52, 55) == ("db/Store (class file version 55)",)


def test_classes_that_lost_nothing_are_sought_nowhere() -> None:
    """A damaged entry beside shows it: whoever inflates it fails."""
    classes = Class("db/Store", declares={"get()V": PUBLIC})
    user = class_jar(Class("app/User", uses=["db/Store.get:()V"]))
    packed = user.index(b"User.class") + len("User.class")
    broken = user[:packed] + b"\xff" * 20 + user[packed + 20 :]
    more = Class("db/Store", declares={"get()V": PUBLIC, "more()V": PUBLIC})
    assert judged(library(classes), library(more), broken).links
    with pytest.raises(InputError, match="damaged"):
        judged(library(classes), library(Class("db/Store")), broken)


def test_a_library_that_the_loader_does_not_ask_for_is_not_there() -> None:
    report = judged(library(Class("db/Store")), library(Class("db/Store")), asks=["native/libdb-aarch64.so"])
    assert report.library == ""
    assert report.reasons()[0] == "it holds no library under a name that its loader asks for"


def test_a_library_for_another_machine_is_not_there() -> None:
    new = library(Class("db/Store"), so=jni_library(machine=X86_64))
    assert not judged(library(Class("db/Store")), new).links


def test_classes_newer_than_the_jre_are_told() -> None:
    new = library(Class("db/Store", major=61))
    assert judged(library(Class("db/Store")), new, jre=17).links
    assert judged(library(Class("db/Store")), new, jre=11).too_new == ("db/Store (class file version 61)",)


def test_a_damaged_jar_is_named() -> None:
    with pytest.raises(InputError, match=r"lib/0\.jar: its zip structure is damaged"):
        judged(library(Class("db/Store")), library(Class("db/Store")), b"PK\x03\x04 no zip")


def test_a_damaged_library_is_named() -> None:
    so = jni_library(["JNI_OnLoad"])[:200]
    with pytest.raises(InputError, match=SO):
        judged(library(Class("db/Store")), library(Class("db/Store"), so=so))


def test_a_class_beside_that_is_none_does_not_matter() -> None:
    beside = class_jar(files={"app/Broken.class": b"db/Store, but no class"})
    assert judged(library(Class("db/Store")), library(Class("db/Store")), beside).links


def test_names_are_mangled_as_the_specification_says() -> None:
    assert mangle("p/q/r/A", "f", "(ILjava/lang/String;)D") == "Java_p_q_r_A_f__ILjava_lang_String_2"
    assert mangle("a/Inner$Cell", "set_it") == "Java_a_Inner_00024Cell_set_1it"
    assert mangle("a/B", "\u00e4", "([[I)V") == "Java_a_B__000e4___3_3I"


def test_only_wide_little_endian_libraries_are_read() -> None:
    narrow = bytearray(jni_library())
    narrow[4] = 1
    with pytest.raises(InputError):
        read_symbols(bytes(narrow))
