"""Walk through a method's instructions, and write them as text the way javap does (JVMS chapter 6)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pulsar_arm.errors import InputError
from pulsar_arm.formats.classfile import MEMBERS, Code, ConstantPool, Tag

# All 202 instructions in the order of their opcodes (JVMS 7).
_NAMES = """
    nop aconst_null iconst_m1 iconst_0 iconst_1 iconst_2 iconst_3 iconst_4 iconst_5 lconst_0 lconst_1
    fconst_0 fconst_1 fconst_2 dconst_0 dconst_1 bipush sipush ldc ldc_w ldc2_w iload lload fload dload aload
    iload_0 iload_1 iload_2 iload_3 lload_0 lload_1 lload_2 lload_3 fload_0 fload_1 fload_2 fload_3 dload_0
    dload_1 dload_2 dload_3 aload_0 aload_1 aload_2 aload_3 iaload laload faload daload aaload baload caload
    saload istore lstore fstore dstore astore istore_0 istore_1 istore_2 istore_3 lstore_0 lstore_1 lstore_2
    lstore_3 fstore_0 fstore_1 fstore_2 fstore_3 dstore_0 dstore_1 dstore_2 dstore_3 astore_0 astore_1
    astore_2 astore_3 iastore lastore fastore dastore aastore bastore castore sastore pop pop2 dup dup_x1
    dup_x2 dup2 dup2_x1 dup2_x2 swap iadd ladd fadd dadd isub lsub fsub dsub imul lmul fmul dmul idiv ldiv
    fdiv ddiv irem lrem frem drem ineg lneg fneg dneg ishl lshl ishr lshr iushr lushr iand land ior lor ixor
    lxor iinc i2l i2f i2d l2i l2f l2d f2i f2l f2d d2i d2l d2f i2b i2c i2s lcmp fcmpl fcmpg dcmpl dcmpg ifeq
    ifne iflt ifge ifgt ifle if_icmpeq if_icmpne if_icmplt if_icmpge if_icmpgt if_icmple if_acmpeq if_acmpne
    goto jsr ret tableswitch lookupswitch ireturn lreturn freturn dreturn areturn return getstatic putstatic
    getfield putfield invokevirtual invokespecial invokestatic invokeinterface invokedynamic new newarray
    anewarray arraylength athrow checkcast instanceof monitorenter monitorexit wide multianewarray ifnull
    ifnonnull goto_w jsr_w
"""
MNEMONICS = tuple(_NAMES.split())
OPCODES = {name: opcode for opcode, name in enumerate(MNEMONICS)}

# How the bytes after the opcode are laid out, as struct writes it; instructions not named here have none.
_LOCALS = "iload lload fload dload aload istore lstore fstore dstore astore ret"
_JUMPS = """ifeq ifne iflt ifge ifgt ifle if_icmpeq if_icmpne if_icmplt if_icmpge if_icmpgt if_icmple
    if_acmpeq if_acmpne goto jsr ifnull ifnonnull"""
_CONSTANTS = """ldc_w ldc2_w getstatic putstatic getfield putfield invokevirtual invokespecial invokestatic
    new anewarray checkcast instanceof"""
LAYOUTS = {
    **dict.fromkeys(_LOCALS.split(), ">B"),
    **dict.fromkeys(_JUMPS.split(), ">h"),
    **dict.fromkeys(_CONSTANTS.split(), ">H"),
    "bipush": ">b",
    "sipush": ">h",
    "ldc": ">B",
    "iinc": ">Bb",
    "newarray": ">B",
    "invokeinterface": ">HBx",
    "invokedynamic": ">Hxx",
    "multianewarray": ">HB",
    "goto_w": ">i",
    "jsr_w": ">i",
}
JUMPS = frozenset({*_JUMPS.split(), "goto_w", "jsr_w"})
POOLED = frozenset({*_CONSTANTS.split(), "ldc", "invokeinterface", "invokedynamic", "multianewarray"})


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a method."""

    offset: int
    """Its place in the method's code, in bytes."""
    name: str
    """The mnemonic; `wide iload` goes by `iload`."""
    operands: tuple[int, ...]
    """Constant index, local variable, number; of a switch its keys, one per target after the first."""
    targets: tuple[int, ...]
    """Offsets in the code it may jump to; a switch's default comes first."""
    size: int
    """Its length in bytes, opcode and padding included."""


def instructions(code: Code, place: str = "class file") -> Iterator[Instruction]:
    """Walk through a method's code from its first byte to its last.

    Raises InputError when a byte is no instruction, an instruction is cut off, or a jump leaves the code.
    """
    offset = 0
    while offset < len(code.content):
        try:
            instruction = _read_instruction(code.content, offset)
        except (struct.error, LookupError) as error:
            raise InputError(f"{place}: no instruction can be read at byte {offset} of the code.") from error
        if any(not 0 <= target < len(code.content) for target in instruction.targets):
            raise InputError(f"{place}: {instruction.name} at byte {offset} of the code jumps out of it.")
        yield instruction
        offset += instruction.size


def describe(instruction: Instruction, pool: ConstantPool) -> str:
    """An instruction as text with its constants written out: `ldc "Linux"`, `aload_0`, `ifeq 80`.

    Members are written as javap does, `invokevirtual java/lang/String.equals:(Ljava/lang/Object;)Z`. Raises
    InputError when the constant it names does not exist.
    """
    operands = [str(operand) for operand in instruction.operands]
    if instruction.name in POOLED:
        operands[0] = _describe_constant(instruction.operands[0], pool)
    return " ".join([instruction.name, *operands, *map(str, instruction.targets)])


def _read_instruction(content: bytes, offset: int) -> Instruction:
    name = MNEMONICS[content[offset]]
    if name == "wide":
        return _read_wide(content, offset)
    if name in ("tableswitch", "lookupswitch"):
        return _read_switch(content, offset, name)
    layout = LAYOUTS.get(name, ">")
    operands = struct.unpack_from(layout, content, offset + 1)
    size = 1 + struct.calcsize(layout)
    if name in JUMPS:
        return Instruction(offset, name, (), (offset + operands[0],), size)
    return Instruction(offset, name, operands, (), size)


def _read_wide(content: bytes, offset: int) -> Instruction:
    name = MNEMONICS[content[offset + 1]]
    if name not in {*_LOCALS.split(), "iinc"}:
        raise LookupError(name)
    layout = ">Hh" if name == "iinc" else ">H"
    operands = struct.unpack_from(layout, content, offset + 2)
    return Instruction(offset, name, operands, (), 2 + struct.calcsize(layout))


def _read_switch(content: bytes, offset: int, name: str) -> Instruction:
    start = (offset + 4) & ~3  # zero to three bytes of padding bring the operands to a multiple of four
    default, first = struct.unpack_from(">ii", content, start)
    if name == "lookupswitch":
        if not 0 <= first <= len(content) // 8:
            raise LookupError(first)
        pairs = struct.unpack_from(f">{2 * first}i", content, start + 8)
        keys, jumps, end = pairs[::2], pairs[1::2], start + 8 + 8 * first
    else:
        (last,) = struct.unpack_from(">i", content, start + 8)
        count = last - first + 1
        if not 0 < count <= len(content) // 4:
            raise LookupError(count)
        jumps = struct.unpack_from(f">{count}i", content, start + 12)
        keys, end = tuple(range(first, last + 1)), start + 12 + 4 * count
    return Instruction(offset, name, keys, tuple(offset + jump for jump in (default, *jumps)), end - offset)


def _describe_constant(index: int, pool: ConstantPool) -> str:
    tag = pool.tag(index)
    if tag == Tag.STRING:
        return json.dumps(pool.name(index), ensure_ascii=False)
    if tag in (Tag.CLASS, Tag.METHOD_TYPE):
        return pool.name(index)
    if tag in MEMBERS or tag in (Tag.DYNAMIC, Tag.INVOKE_DYNAMIC):
        return str(pool.reference(index))
    if tag == Tag.METHOD_HANDLE:
        return f"handle #{index}"
    return str(pool.number(index))
