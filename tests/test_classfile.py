from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from builders_classfile import EQUALS, MATCHES, MadeClass
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar_arm.errors import InputError
from pulsar_arm.formats.bytecode import MNEMONICS, describe, instructions
from pulsar_arm.formats.classedit import EditRefusedError, replace_instructions
from pulsar_arm.formats.classfile import Code, Tag, read_class

METHOD = "check()V"
FIND = ['ldc "amd64"', "aload_3", EQUALS]
REPLACE = ["aload_3", 'ldc "amd64|aarch64"', MATCHES]


def code_of(content: bytes, method: str = METHOD) -> list[str]:
    loaded = read_class(content)
    (code,) = (one.code for one in loaded.methods if str(one) == method)
    assert code is not None
    return [describe(one, loaded.pool) for one in instructions(code)]


def read_and_walk(content: bytes) -> None:
    """Ask for all there is; nothing but InputError may come of it."""
    with suppress(InputError):
        loaded = read_class(content, "x.class")
        for index in range(len(loaded.pool) + 1):
            for ask in (loaded.pool.text, loaded.pool.name, loaded.pool.number, loaded.pool.reference):
                with suppress(InputError):
                    ask(index)
        for method in loaded.methods:
            for one in instructions(method.code) if method.code else ():
                describe(one, loaded.pool)


def a_class() -> MadeClass:
    made = MadeClass().method(METHOD, [*FIND, "ifne end", "iconst_0", "pop", "end:", "return"])
    made.fields.append(
        struct.pack(">HHHH", 0x19, made.utf8("F"), made.utf8("Ljava/lang/String;"), 1)
        + made.attribute("ConstantValue", struct.pack(">H", made.named(8, "kept by the field")))
    )
    return made.method("raw()V", None, 0x0109)


def test_a_class_tells_its_names_methods_fields_and_flags() -> None:
    loaded = read_class(a_class().build())
    assert (loaded.name, loaded.super_name, loaded.interfaces) == ("a/Made", "java/lang/Object", ())
    assert (loaded.major, loaded.minor, loaded.access) == (50, 0, 0x21)
    assert [str(method) for method in loaded.methods] == ["check()V", "raw()V"]
    assert loaded.methods[1].access & 0x0100
    assert loaded.methods[1].code is None
    assert [one.name for one in loaded.fields[0].attributes] == ["ConstantValue"]


def test_code_is_written_as_javap_writes_it() -> None:
    assert code_of(a_class().build()) == [*FIND, "ifne 11", "iconst_0", "pop", "return"]


def test_every_constant_of_java_21_is_read() -> None:
    made = MadeClass()
    pair = made.constant(12, struct.pack(">HH", made.utf8("n"), made.utf8("()V")))
    for tag in (17, 18):
        made.constant(tag, struct.pack(">HH", 0, pair))
    made.constant(15, struct.pack(">BH", 6, made.member(10, "a/B.c:()V")))
    numbers = [
        made.constant(3, struct.pack(">i", -7)),
        made.constant(4, struct.pack(">f", 0.5)),
        made.constant(5, struct.pack(">q", -(2**40))),
        made.constant(6, struct.pack(">d", 1.5)),
    ]
    named = [made.named(tag, f"text{tag}") for tag in (8, 16, 19, 20)]
    made.member(9, "a/B.f:I")
    made.member(11, "a/B.g:()V")
    pool = read_class(made.build()).pool
    assert [pool.number(index) for index in numbers] == [-7, 0.5, -(2**40), 1.5]
    assert [pool.name(index) for index in named] == ["text8", "text16", "text19", "text20"]
    members = pool.indexes(
        Tag.FIELDREF, Tag.METHODREF, Tag.INTERFACE_METHODREF, Tag.DYNAMIC, Tag.INVOKE_DYNAMIC
    )
    texts = [str(pool.reference(index)) for index in members]
    assert texts == ["n:()V", "n:()V", "a/B.c:()V", "a/B.f:I", "a/B.g:()V"]


def test_javas_own_utf8_is_decoded() -> None:
    made = MadeClass()
    index = made.utf8(b"z\xc0\x80\xed\xa0\xbd\xed\xb8\x80\xc3\xa9")
    assert read_class(made.build()).pool.text(index) == "z\0\U0001f600\xe9"


def test_the_second_half_of_a_long_is_no_constant() -> None:
    made = MadeClass()
    index = made.constant(5, bytes(8))
    with pytest.raises(InputError, match=f"constant {index + 1} does not exist"):
        read_class(made.build()).pool.tag(index + 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends at byte 0"),
        (b"\x7fELF" + bytes(60), "not a Java class file"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34\0\x03\x02", "constant 1 has the unknown tag 2"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34\0\x02\x05" + bytes(8), "takes an index that does not exist"),
        (a_class().build() + b"!", "1 bytes follow"),
    ],
)
def test_what_is_no_class_is_refused_with_its_place(content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_class(content, "lib/x.jar!/A.class")
    assert str(refused.value).startswith("lib/x.jar!/A.class: ")


def test_a_class_cut_off_anywhere_is_refused() -> None:
    content = a_class().build()
    for end in range(len(content)):
        with pytest.raises(InputError):
            read_class(content[:end])


def test_a_name_that_points_to_a_wrong_constant_is_refused() -> None:
    made = a_class()
    made.methods.append(struct.pack(">HHHH", 1, made.named(7, "a/C"), made.utf8("()V"), 0))
    with pytest.raises(InputError, match="has tag 7 where UTF8 belongs"):
        read_class(made.build())


def test_code_that_is_longer_than_its_attribute_is_refused() -> None:
    made = MadeClass()
    code = made.attribute("Code", struct.pack(">HHI", 1, 1, 500) + b"\xb1")
    made.methods.append(struct.pack(">HHHH", 1, made.utf8("m"), made.utf8("()V"), 1) + code)
    with pytest.raises(InputError, match="wrong length"):
        read_class(made.build())


def test_a_method_with_two_codes_is_refused() -> None:
    made = MadeClass()
    code = made.attribute("Code", struct.pack(">HHI", 1, 1, 1) + b"\xb1" + bytes(4))
    made.methods.append(struct.pack(">HHHH", 1, made.utf8("m"), made.utf8("()V"), 2) + code + code)
    with pytest.raises(InputError, match="method m has its code twice"):
        read_class(made.build())


def test_numbers_and_handles_that_code_loads_are_described() -> None:
    made = MadeClass()
    number = made.constant(3, struct.pack(">i", 99))
    handle = made.constant(15, struct.pack(">BH", 6, made.member(10, "a/B.c:()V")))
    made.method(METHOD, bytes([18, number, 18, handle, 0xB1]))
    assert code_of(made.build()) == ["ldc 99", f"ldc handle #{handle}", "return"]


def test_the_instruction_table_has_the_numbers_of_the_specification() -> None:
    known = {"nop": 0, "ldc": 18, "aload_0": 42, "pop": 87, "iinc": 132, "goto": 167, "tableswitch": 170}
    known |= {"getstatic": 178, "invokedynamic": 186, "athrow": 191, "wide": 196, "jsr_w": 201}
    assert {name: MNEMONICS.index(name) for name in known} == known
    assert len(MNEMONICS) == 202


def test_switches_and_wide_instructions_are_walked_over() -> None:
    content = (
        bytes([0x1A])
        + bytes([0xAA, 0, 0])
        + struct.pack(">iiiii", 43, 5, 6, 43, 43)  # tableswitch at 1
        + bytes([0xAB, 0, 0, 0])
        + struct.pack(">iiii", 20, 1, -9, 20)  # lookupswitch at 24
        + bytes([0xC4, 0x15, 1, 2])
        + bytes([0xC4, 0x84, 1, 2, 0xFF, 0xFF])
        + bytes([0xB1])
    )
    walked = list(instructions(Code(content, 0, 1, 1)))
    assert [(one.name, one.operands, one.targets, one.size) for one in walked] == [
        ("iload_0", (), (), 1),
        ("tableswitch", (5, 6), (44, 44, 44), 23),
        ("lookupswitch", (-9,), (44, 44), 20),
        ("iload", (258,), (), 4),
        ("iinc", (258, -1), (), 6),
        ("return", (), (), 1),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"\x12",
        b"\xc4\x00\x00\x00",
        b"\xa7\x7f\xff",
        b"\xaa\0\0\0" + struct.pack(">iii", 0, 0, 2**31 - 1),
        b"\xaa\0\0\0" + struct.pack(">iii", 0, 1, 0),
        b"\xab\0\0\0" + struct.pack(">ii", 0, 2**31 - 1),
        b"\xab\0\0\0" + struct.pack(">ii", 0, -1),
    ],
)
def test_bytes_that_are_no_instruction_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="code"):
        list(instructions(Code(content, 0, 1, 1)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_bring_the_reader_down(content: bytes) -> None:
    read_and_walk(content)
    read_and_walk(b"\xca\xfe\xba\xbe\0\0\0\x34" + content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_a_class_brings_the_reader_down(data: st.DataObject) -> None:
    content = bytearray(a_class().build())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_and_walk(bytes(content))


def test_instructions_are_replaced_and_nothing_else_moves() -> None:
    before = a_class().build()
    after = replace_instructions(before, METHOD, FIND, REPLACE)
    assert code_of(after) == [*REPLACE, "ifne 11", "iconst_0", "pop", "return"]
    old, new = read_class(before), read_class(after)
    assert before[10 : old.pool.end] == after[10 : old.pool.end]
    assert len(before) - old.pool.end == len(after) - new.pool.end


def test_a_new_string_takes_the_place_of_one_that_is_free_when_the_pool_is_large() -> None:
    made = a_class().fill_pool(300)
    after = replace_instructions(made.build(), METHOD, FIND, REPLACE)
    assert code_of(after)[:3] == REPLACE


def test_a_string_that_other_code_loads_is_never_overwritten() -> None:
    made = a_class().method("other()V", ['ldc "amd64"', "pop", "return"]).fill_pool(300)
    with pytest.raises(EditRefusedError, match="finds no index below 256"):
        replace_instructions(made.build(), METHOD, FIND, REPLACE)


def test_a_string_that_a_field_begins_with_is_never_overwritten() -> None:
    made = MadeClass().method(METHOD, ['ldc "kept"', "pop", "return"])
    made.fields.append(
        struct.pack(">HHHH", 0x19, made.utf8("F"), made.utf8("Ljava/lang/String;"), 1)
        + made.attribute("ConstantValue", struct.pack(">H", made.named(8, "kept")))
    )
    with pytest.raises(EditRefusedError, match="finds no index below 256"):
        replace_instructions(made.fill_pool(300).build(), METHOD, ['ldc "kept"'], ['ldc "new"'])


def test_constants_that_are_there_are_used_again() -> None:
    made = a_class().method("other()V", ['ldc "amd64|aarch64"', "aload_0", MATCHES, "pop", "return"])
    before = made.build()
    after = replace_instructions(before, METHOD, FIND, REPLACE)
    assert len(after) == len(before)


def test_a_string_beyond_the_first_plane_survives_the_way_through_the_pool() -> None:
    after = replace_instructions(
        a_class().build(), METHOD, ['ldc "amd64"'], ['ldc "\\u0000 \U0001f600 \\u00e9"']
    )
    loaded = read_class(after)
    assert "\0 \U0001f600 \xe9" in {loaded.pool.name(index) for index in loaded.pool.indexes(Tag.STRING)}


@pytest.mark.parametrize(
    ("method", "find", "replace", "words"),
    [
        ("nothing()V", FIND, REPLACE, "has no method nothing"),
        ("raw()V", FIND, REPLACE, "has no method raw"),
        (METHOD, ['ldc "sparc"'], ['ldc "x"'], "occur 0 times"),
        (METHOD, [], [], "not once"),
        (METHOD, FIND, ["aload_3"], "1 bytes for 6"),
        (METHOD, ["pop", "return"], ["nop", "return"], "jump leads into the middle"),
        (METHOD, ["iconst_0"], ["bogus"], "'bogus' is no instruction"),
        (METHOD, ["ifne 11"], ["ifeq 11"], "'ifeq' is no instruction"),
        (METHOD, [EQUALS], ["invokevirtual equals"], "form owner.name:descriptor"),
        (METHOD, ['ldc "amd64"'], ["ldc amd64"], "double quotes"),
        (METHOD, ["iconst_0"], ["bipush 1000"], "do not fit"),
        (METHOD, ["iconst_0"], ["iconst_1 1"], "do not fit"),
        (METHOD, ["iconst_0"], ["aload x"], "do not fit"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(
    method: str, find: list[str], replace: list[str], words: str
) -> None:
    with pytest.raises(EditRefusedError, match=words):
        replace_instructions(a_class().build(), method, find, replace)


def test_a_constant_pool_that_is_full_takes_nothing_more() -> None:
    made = a_class()
    made.fill_pool(65530 - len(made.pool))
    with pytest.raises(EditRefusedError, match="the constant pool is full"):
        replace_instructions(made.build(), METHOD, FIND, REPLACE)


def test_a_string_too_long_for_a_constant_is_refused() -> None:
    with pytest.raises(EditRefusedError, match="longer than 65535 bytes"):
        replace_instructions(a_class().build(), METHOD, ['ldc "amd64"'], [f'ldc "{"x" * 70000}"'])


def test_members_classes_and_numbers_can_be_assembled() -> None:
    made = MadeClass().method(METHOD, ["nop"] * 12 + ["return"])
    lines = ["getstatic a/B.f:I", "pop", "new a/C", "pop", "bipush -3", "aload 7"]
    after = replace_instructions(made.build(), METHOD, ["nop"] * 12 + ["return"], [*lines, "return"])
    assert code_of(after) == [*lines, "return"]
