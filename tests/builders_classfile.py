"""Small Java classes made from lines of assembler, so that no class file need be stored."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from pulsar_arm.formats.bytecode import JUMPS, LAYOUTS, OPCODES

PROPERTY = "com/google/common/base/StandardSystemProperty"
EQUALS = "invokevirtual java/lang/String.equals:(Ljava/lang/Object;)Z"
MATCHES = "invokevirtual java/lang/String.matches:(Ljava/lang/String;)Z"
PRESTO = "com/facebook/presto/server/PrestoSystemRequirements"
FAIL = f"invokestatic {PRESTO}.failRequirement:(Ljava/lang/String;[Ljava/lang/Object;)V"


def read_property(name: str) -> list[str]:
    """The instructions that put Guava's `StandardSystemProperty.<name>.value()` on the stack."""
    return [
        f"getstatic {PROPERTY}.{name}:L{PROPERTY};",
        f"invokevirtual {PROPERTY}.value:()Ljava/lang/String;",
    ]


def refuse(words: str) -> list[str]:
    """The instructions of `failRequirement(words)`."""
    return [f'ldc "{words}"', "iconst_0", "anewarray java/lang/Object", FAIL]


@dataclass
class MadeClass:
    """A class file in the making."""

    name: str = "a/Made"
    major: int = 50
    pool: list[bytes] = field(default_factory=list)
    methods: list[bytes] = field(default_factory=list)
    fields: list[bytes] = field(default_factory=list)
    attributes: list[bytes] = field(default_factory=list)

    def constant(self, tag: int, content: bytes) -> int:
        raw = bytes([tag]) + content
        if raw not in self.pool:
            self.pool.append(raw)
            if tag in (5, 6):
                self.pool.append(b"")
        return self.pool.index(raw) + 1

    def utf8(self, text: str | bytes) -> int:
        raw = text.encode() if isinstance(text, str) else text
        return self.constant(1, struct.pack(">H", len(raw)) + raw)

    def named(self, tag: int, text: str) -> int:
        return self.constant(tag, struct.pack(">H", self.utf8(text)))

    def member(self, tag: int, spelled: str) -> int:
        owner, _, rest = spelled.partition(".")
        name, _, descriptor = rest.partition(":")
        pair = self.constant(12, struct.pack(">HH", self.utf8(name), self.utf8(descriptor)))
        return self.constant(tag, struct.pack(">HH", self.named(7, owner), pair))

    def fill_pool(self, count: int) -> MadeClass:
        """Take so many indexes that later strings lie beyond what `ldc` reaches."""
        self.pool += [struct.pack(">Bi", 3, number) for number in range(count)]
        return self

    def attribute(self, name: str, content: bytes) -> bytes:
        return struct.pack(">HI", self.utf8(name), len(content)) + content

    def method(self, name: str, code: Sequence[str] | bytes | None, access: int = 0x0009) -> MadeClass:
        """Add `name(descriptor)`; lines may be labels (`end:`), jumps name labels (`ifeq end`)."""
        title, _, rest = name.partition("(")
        head = struct.pack(">HHH", access, self.utf8(title), self.utf8(f"({rest}"))
        if code is None:
            self.methods.append(head + struct.pack(">H", 0))
            return self
        raw = code if isinstance(code, bytes) else self.assemble(code)
        body = struct.pack(">HHI", 8, 8, len(raw)) + raw + struct.pack(">HH", 0, 0)
        self.methods.append(head + struct.pack(">H", 1) + self.attribute("Code", body))
        return self

    def assemble(self, lines: Sequence[str]) -> bytes:
        sizes = [0 if line.endswith(":") else len(self._instruction(line, {}, 0)) for line in lines]
        starts = [sum(sizes[:number]) for number in range(len(lines))]
        labels = {line[:-1]: at for line, at in zip(lines, starts, strict=True) if line.endswith(":")}
        made = [
            self._instruction(line, labels, at)
            for line, at in zip(lines, starts, strict=True)
            if not line.endswith(":")
        ]
        return b"".join(made)

    def _instruction(self, line: str, labels: dict[str, int], at: int) -> bytes:
        name, _, operand = line.partition(" ")
        opcode, layout = bytes([OPCODES[name]]), LAYOUTS.get(name, ">")
        if name in JUMPS:
            return opcode + struct.pack(layout, labels.get(operand, at) - at)
        if name.startswith("ldc"):
            return opcode + struct.pack(layout, self.named(8, json.loads(operand)))
        if name.startswith("invoke"):
            return opcode + struct.pack(layout, self.member(10, operand))
        if name.endswith(("static", "field")):
            return opcode + struct.pack(layout, self.member(9, operand))
        if name in ("new", "anewarray", "checkcast", "instanceof"):
            return opcode + struct.pack(layout, self.named(7, operand))
        return opcode + struct.pack(layout, *map(int, operand.split()))

    def build(self) -> bytes:
        this, parent = self.named(7, self.name), self.named(7, "java/lang/Object")
        tail = struct.pack(">HHHH", 0x0021, this, parent, 0)
        for table in (self.fields, self.methods, self.attributes):
            tail += struct.pack(">H", len(table)) + b"".join(table)
        head = struct.pack(">IHHH", 0xCAFEBABE, 0, self.major, len(self.pool) + 1)
        return head + b"".join(self.pool) + tail


def made_presto(arch_test: Sequence[str], vendor_test: Sequence[str] = ("iconst_1",)) -> MadeClass:
    """A check as Presto 0.206 has it; each test leaves true on the stack for what it accepts.

    Local 0 is the vendor, 2 the system's name, 3 the architecture. macOS accepts x86_64.
    """
    code = [
        *read_property("JAVA_VENDOR"),
        "astore_0",
        *vendor_test,
        "ifne vendor_fine",
        *refuse("no vendor"),
        "vendor_fine:",
        'ldc "sun.arch.data.model"',
        "invokestatic java/lang/System.getProperty:(Ljava/lang/String;)Ljava/lang/String;",
        "astore_1",
        'ldc "64"',
        "aload_1",
        EQUALS,
        "ifne wide_enough",
        *refuse("not 64 bits"),
        "wide_enough:",
        *read_property("OS_NAME"),
        "astore_2",
        *read_property("OS_ARCH"),
        "astore_3",
        'ldc "Linux"',
        "aload_2",
        EQUALS,
        "ifeq other",
        *arch_test,
        "ifne end",
        *refuse("not on this Linux"),
        "goto end",
        "other:",
        'ldc "x86_64"',
        "aload_3",
        EQUALS,
        "ifne end",
        *refuse("not on this Mac"),
        "end:",
        "return",
    ]
    return MadeClass(PRESTO).method("verifyJvmRequirements()V", code)
