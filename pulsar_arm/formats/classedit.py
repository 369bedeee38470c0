"""Replace instructions of a class file in place: same length, new constants behind the old ones (JVMS 4.4).

Nothing else of the class moves: jumps, line numbers and the stack map stay as the compiler wrote them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence

from pulsar_arm.formats.bytecode import JUMPS, LAYOUTS, OPCODES, POOLED, Instruction, describe, instructions
from pulsar_arm.formats.classfile import ClassFile, Code, Tag, read_class

_MEMBERS = {
    **dict.fromkeys(("invokevirtual", "invokespecial", "invokestatic"), Tag.METHODREF),
    **dict.fromkeys(("getstatic", "putstatic", "getfield", "putfield"), Tag.FIELDREF),
}
_TYPED = frozenset({"new", "anewarray", "checkcast", "instanceof"})
# A jump would need the stack map; the rest has no text from which its constant could be made.
_UNUSABLE = {*JUMPS, *POOLED, "tableswitch", "lookupswitch", "wide"}


class EditRefusedError(Exception):
    """An edit that this class or the instruction set does not allow; `str()` says why, without a place."""


def replace_instructions(
    content: bytes, method: str, find: Sequence[str], replace: Sequence[str], place: str = "class file"
) -> bytes:
    """The class file with the instructions `find` of `method` replaced by as many bytes of `replace`.

    `method` is a name with its descriptor, `verifySlice()V`; instructions are written as `bytecode.describe`
    and javap write them. `find` must occur once, and no jump may lead into its middle. `ldc` has one byte for
    its index (JVMS 6.5): where the pool goes beyond that, a new string takes the place of one in `find` that
    nothing else in the class uses. Raises EditRefusedError for what cannot be done, InputError where the
    class file is damaged.
    """
    loaded = read_class(content, place)
    code, found = _find(loaded, method, find)
    start, end = found[0].offset, found[-1].offset + found[-1].size
    pool = _PoolEditor(loaded, found)
    assembled = b"".join(_assemble(line, pool) for line in replace)
    if len(assembled) != end - start:
        raise EditRefusedError(f"the replacement has {len(assembled)} bytes for {end - start}")
    body = bytearray(content)
    body[code.offset + start : code.offset + end] = assembled
    return pool.write(body)


def _find(loaded: ClassFile, method: str, find: Sequence[str]) -> tuple[Code, list[Instruction]]:
    codes = [one.code for one in loaded.methods if str(one) == method and one.code]
    if not codes:
        raise EditRefusedError(f"the class has no method {method} with code")
    walked = _walk(codes[0], loaded)
    lines = [describe(one, loaded.pool) for one in walked]
    places = [at for at in range(len(lines)) if lines[at : at + len(find)] == list(find)]
    if not find or len(places) != 1:
        raise EditRefusedError(f"the instructions to find occur {len(places)} times in {method}, not once")
    found = walked[places[0] : places[0] + len(find)]
    inner = {one.offset for one in found[1:]}
    if any(inner.intersection(one.targets) for one in walked):
        raise EditRefusedError(f"a jump leads into the middle of the instructions to find in {method}")
    return codes[0], found


class _PoolEditor:
    """The constant pool with what a replacement adds to it."""

    def __init__(self, loaded: ClassFile, found: Sequence[Instruction]) -> None:
        self.pool = loaded.pool
        self.added: list[bytes] = []
        self.pointed: dict[int, int] = {}
        self.spare = _unshared_strings(loaded, found)

    def constant(self, tag: Tag, *parts: int) -> int:
        """The index of a constant of two-byte parts, found or added."""
        return self._index(bytes([tag]) + struct.pack(f">{len(parts)}H", *parts))

    def text(self, text: str) -> int:
        """The index of a Utf8 constant, found or added."""
        raw = _modified_utf8(text)
        return self._index(bytes([Tag.UTF8]) + struct.pack(">H", len(raw)) + raw)

    def string(self, text: str) -> int:
        """The index, at most 255, of a String constant: found, added, or one that is free now."""
        wanted = bytes([Tag.STRING]) + struct.pack(">H", self.text(text))
        known = self._known(wanted)
        if known is not None and known < 256:
            return known
        if len(self.pool) + len(self.added) < 256:
            return self._index(wanted)
        if not self.spare:
            raise EditRefusedError(f"ldc {json.dumps(text)} finds no index below 256 in the constant pool")
        index = self.spare.pop(0)
        self.pointed[index] = self.text(text)
        return index

    def member(self, tag: Tag, spelled: str) -> int:
        """The index of a Fieldref or Methodref written `owner.name:descriptor`."""
        owner, _, rest = spelled.partition(".")
        name, _, descriptor = rest.partition(":")
        if not (owner and name and descriptor):
            raise EditRefusedError(f"{spelled!r} is not of the form owner.name:descriptor")
        pair = self.constant(Tag.NAME_AND_TYPE, self.text(name), self.text(descriptor))
        return self.constant(tag, self.constant(Tag.CLASS, self.text(owner)), pair)

    def write(self, body: bytearray) -> bytes:
        """The class file's bytes with the pool as it is now."""
        for index, text in self.pointed.items():
            struct.pack_into(">H", body, self.pool.offsets[index] + 1, text)
        count = len(self.pool) + len(self.added)
        head, tail = body[10 : self.pool.end], body[self.pool.end :]
        return b"".join([body[:8], struct.pack(">H", count), head, *self.added, tail])

    def _index(self, raw: bytes) -> int:
        known = self._known(raw)
        if known is not None:
            return known
        if len(self.pool) + len(self.added) == 0xFFFF:
            raise EditRefusedError("the constant pool is full")
        self.added.append(raw)
        return len(self.pool) + len(self.added) - 1

    def _known(self, raw: bytes) -> int | None:
        for index in self.pool.indexes(raw[0]):
            if index not in self.pointed and self.pool.content.startswith(raw, self.pool.offsets[index]):
                return index
        return len(self.pool) + self.added.index(raw) if raw in self.added else None


def _unshared_strings(loaded: ClassFile, found: Sequence[Instruction]) -> list[int]:
    """Indexes of the String constants that only these instructions load."""
    loads = [
        index for method in loaded.methods if method.code for index in _loads(_walk(method.code, loaded))
    ]
    here = _loads(found)
    strings = {index for index in here if index < 256 and loaded.pool.tag(index) == Tag.STRING}
    held = _held_by_attributes(loaded)
    return sorted(index for index in strings - held if loads.count(index) == here.count(index))


def _loads(walked: Iterable[Instruction]) -> list[int]:
    return [one.operands[0] for one in walked if one.name in ("ldc", "ldc_w")]


def _walk(code: Code, loaded: ClassFile) -> list[Instruction]:
    return list(instructions(code, loaded.pool.place))


def _held_by_attributes(loaded: ClassFile) -> set[int]:
    """Constants that fields' first values, and perhaps bootstrap methods, point to (JVMS 4.7.2, 4.7.23)."""
    content = loaded.pool.content
    held: set[int] = set()
    for attribute in (*(one for field in loaded.fields for one in field.attributes), *loaded.attributes):
        if attribute.name in ("ConstantValue", "BootstrapMethods"):
            starts = range(attribute.start, attribute.end, 2)
            held.update(int.from_bytes(content[at : at + 2]) for at in starts)
    return held


def _assemble(line: str, pool: _PoolEditor) -> bytes:
    name, _, operand = line.partition(" ")
    try:
        if name in _MEMBERS:
            return struct.pack(">BH", OPCODES[name], pool.member(_MEMBERS[name], operand))
        if name in _TYPED:
            return struct.pack(">BH", OPCODES[name], pool.constant(Tag.CLASS, pool.text(operand)))
        if name == "ldc":
            return bytes([OPCODES[name], pool.string(_quoted(operand))])
        if name in OPCODES and name not in _UNUSABLE:
            return struct.pack(f">B{LAYOUTS.get(name, '>')[1:]}", OPCODES[name], *map(int, operand.split()))
    except (struct.error, ValueError) as error:
        raise EditRefusedError(f"the operands of {line!r} do not fit the instruction") from error
    raise EditRefusedError(f"{name!r} is no instruction that a replacement may use")


def _quoted(operand: str) -> str:
    try:
        text = json.loads(operand)
    except ValueError:
        text = None
    if not isinstance(text, str):
        raise EditRefusedError(f'ldc {operand} is not a string in double quotes, as in ldc "Linux"')
    return text


def _modified_utf8(text: str) -> bytes:
    """Java's modified UTF-8: characters beyond the first plane as two halves, no zero byte (JVMS 4.4.7)."""
    halves = text.encode("utf-16-le", "surrogatepass")
    units = struct.unpack(f"<{len(halves) // 2}H", halves)
    raw = "".join(map(chr, units)).encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
    if len(raw) > 0xFFFF:
        raise EditRefusedError("a constant is longer than 65535 bytes")
    return raw
