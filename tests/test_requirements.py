from __future__ import annotations

from contextlib import suppress

import pytest
from builders_classfile import EQUALS, MATCHES, PRESTO, MadeClass, made_presto, read_property, refuse
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar_arm.errors import InputError
from pulsar_arm.requirements import REQUIREMENT_CLASSES, Requirements, read_requirements

NAME = PRESTO.replace("/", ".")
ORACLE = ['ldc "Oracle Corporation"', "aload_0", EQUALS]
AMD64 = ['ldc "amd64"', "aload_3", EQUALS]
SET_OF_THREE = "com/google/common/collect/ImmutableSet.of:(" + "Ljava/lang/Object;" * 3 + ")Lcom/google/Set;"
CONTAINS = "invokevirtual com/google/common/collect/ImmutableSet.contains:(Ljava/lang/Object;)Z"


def any_of(*machines: str) -> list[str]:
    """`ImmutableSet.of(machines).contains(arch)`, as PrestoSQL and Trino have it."""
    return [*(f'ldc "{one}"' for one in machines), f"invokestatic {SET_OF_THREE}", "aload_3", CONTAINS]


def test_presto_0_206_accepts_amd64_and_one_vendor() -> None:
    found = read_requirements(made_presto(AMD64, ORACLE).build())
    assert found == Requirements(NAME, ("amd64",), ("Oracle Corporation",))
    assert not found.admits("amd64")
    assert not found.admits("aarch64")


def test_the_patched_class_accepts_both_machines_and_any_vendor() -> None:
    vendor, arch = ["aload_0", 'ldc ".*"', MATCHES], ["aload_3", 'ldc "amd64|aarch64"', MATCHES]
    found = read_requirements(made_presto(arch, vendor).build())
    assert found == Requirements(NAME, ("amd64", "aarch64"), ())
    assert found.admits("aarch64")
    assert not found.admits("ppc64le")


def test_a_set_of_machines_as_in_prestosql_and_trino_is_read() -> None:
    found = read_requirements(made_presto(any_of("amd64", "aarch64", "ppc64le")).build())
    assert found == Requirements(NAME, ("amd64", "aarch64", "ppc64le"), ())


def test_a_chain_of_comparisons_as_in_later_facebook_presto_is_read() -> None:
    chain = [
        *AMD64,
        "ifne yes",
        'ldc "ppc64le"',
        "aload_3",
        EQUALS,
        "goto known",
        "yes:",
        "iconst_1",
        "known:",
    ]
    assert read_requirements(made_presto(chain).build()) == Requirements(NAME, ("amd64", "ppc64le"), ())


def test_what_macos_accepts_is_not_accepted_on_linux() -> None:
    found = read_requirements(made_presto(AMD64).build())
    assert found is not None
    assert "x86_64" not in found.accepts


def test_a_class_that_judges_the_vendor_alone_accepts_every_machine() -> None:
    found = read_requirements(made_presto(["iconst_1"], ORACLE).build())
    assert found == Requirements(NAME, (), ("Oracle Corporation",))
    assert not found.admits("aarch64")


def test_a_class_that_refuses_no_machine_has_no_requirements() -> None:
    assert read_requirements(made_presto(["iconst_1"]).build()) is None


def test_a_class_that_asks_for_no_property_has_no_requirements() -> None:
    assert read_requirements(MadeClass().method("check()V", [*refuse("never"), "return"]).build()) is None


def test_a_warning_for_a_machine_is_no_refusal() -> None:
    warn = f"invokestatic {PRESTO}.warnRequirement:(Ljava/lang/String;)V"
    arch = [*AMD64, "ifne quiet", 'ldc "experimental"', warn, "quiet:", "iconst_1"]
    assert read_requirements(made_presto(arch).build()) is None


def test_properties_asked_for_by_name_and_an_exit_are_understood() -> None:
    get = "invokestatic java/lang/System.getProperty:(Ljava/lang/String;)Ljava/lang/String;"
    code = [
        'ldc "aarch64"',
        'ldc "os.arch"',
        get,
        "invokevirtual java/lang/String.equalsIgnoreCase:(Ljava/lang/String;)Z",
    ]
    leave = ["iconst_1", "invokestatic java/lang/System.exit:(I)V"]
    made = MadeClass("a/Check").method("check()V", [*code, "ifne end", *leave, "end:", "return"])
    assert read_requirements(made.build()) == Requirements("a.Check", ("aarch64",), ())


def test_loops_and_null_checks_are_followed_to_their_end() -> None:
    arch = ["again:", "aload_3", "ifnull again", "aload_1", "ifnull again", *AMD64]
    assert read_requirements(made_presto(arch).build()) == Requirements(NAME, ("amd64",), ())


@pytest.mark.parametrize(
    "arch",
    [
        ["aload_3", 'ldc "amd.*|aarch.*"', MATCHES],
        ["aload_3", "invokevirtual java/lang/String.hashCode:()I"],
        ["aload_3", f"invokestatic {PRESTO}.known:(Ljava/lang/String;)Z"],
        ['ldc "amd64"', "aload_3", "if_acmpeq end", "iconst_0"],
        ["iconst_1", "iconst_1", "iadd"],
        ["again:", "iconst_0", "goto again", "iconst_1"],
        ["pop", "iconst_1"],
    ],
)
def test_a_form_that_is_not_known_is_said_and_not_guessed(arch: list[str]) -> None:
    with pytest.raises(InputError, match=r"^x\.jar!/P\.class: the platform check of .* not known here"):
        read_requirements(made_presto(arch).build(), "x.jar!/P.class")


def test_a_class_with_too_many_strings_is_said() -> None:
    code = [line for number in range(100) for line in (f'ldc_w "m{number}"', "pop")]
    made = MadeClass("a/Check").method("check()V", [*read_property("OS_ARCH"), *code, "return"])
    with pytest.raises(InputError, match="has 100 strings to compare with"):
        read_requirements(made.build())


def test_a_class_with_endless_ways_is_given_up_in_time() -> None:
    forks = [
        line for n in range(40) for line in ("aload_1", f"ifeq f{n}", "iconst_1", f"istore {n + 8}", f"f{n}:")
    ]
    with pytest.raises(InputError, match="not known here"):
        read_requirements(made_presto([*forks, *AMD64]).build())


def test_the_entries_of_three_generations_are_known() -> None:
    assert [name.split("/")[1] for name in REQUIREMENT_CLASSES] == ["facebook", "prestosql", "trino"]
    assert all(name.endswith("SystemRequirements.class") for name in REQUIREMENT_CLASSES)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_a_check_brings_the_reading_down(data: st.DataObject) -> None:
    content = bytearray(made_presto(any_of("amd64", "aarch64", "ppc64le"), ORACLE).build())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        read_requirements(bytes(content))


def test_a_giant_descriptor_is_read_in_time() -> None:
    made = MadeClass("a/Check")
    for letter in "L[":
        call = f"invokestatic a/B.m:({letter * 60000})V"
        made.method(f"m{ord(letter)}()V", [*read_property("OS_ARCH"), "astore_0", *[call] * 300, "return"])
    with pytest.raises(InputError):
        read_requirements(made.build())
