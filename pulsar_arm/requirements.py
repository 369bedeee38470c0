"""What Presto's and Trino's start-up check accepts, read from the class file by following its code.

The check is followed for one made-up machine after another: which calls of `failRequirement` can be reached
on Linux with this os.arch and this java.vendor? What is reached on a machine nobody has but not on `amd64` is
the check of the architecture. So a class patched by anyone, and later generations, are read by the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pulsar_arm.errors import InputError
from pulsar_arm.formats.bytecode import Instruction, instructions
from pulsar_arm.formats.classfile import ClassFile, Reference, Tag, read_class
from pulsar_arm.platforms import PLATFORMS

REQUIREMENT_CLASSES: Final = (
    "com/facebook/presto/server/PrestoSystemRequirements.class",
    "io/prestosql/server/PrestoSystemRequirements.class",
    "io/trino/server/TrinoSystemRequirements.class",
)
"""The entries of a jar that hold such a check: Presto 0.x, PrestoSQL, Trino."""

_ARCH, _VENDOR, _SYSTEM = "os.arch", "java.vendor", "os.name"
_NOBODY = "a machine that nobody has"
# Far more than these classes need (0.206 takes 1,400 steps), yet two seconds at most for a hostile one.
_STEPS, _STRINGS, _DEPTH = 100_000, 80, 64


@dataclass(frozen=True, slots=True)
class Requirements:
    """The machines and Java vendors on which a server agrees to start."""

    class_name: str
    """With dots: `com.facebook.presto.server.PrestoSystemRequirements`."""
    accepts: tuple[str, ...]
    """Values of Java's os.arch accepted on Linux, in the order of the code; empty when any is."""
    vendors: tuple[str, ...]
    """Values of java.vendor accepted; empty when any is."""

    def admits(self, architecture: str) -> bool:
        """Whether a JVM of any vendor starts there; `architecture` as os.arch says it: `aarch64`, `amd64`."""
        return not self.vendors and (not self.accepts or architecture in self.accepts)


def read_requirements(data: bytes, place: str = "class file") -> Requirements | None:
    """What the class file checks; None when it refuses no architecture and no vendor.

    Raises InputError when the bytes are no class file, or the class compares os.arch, os.name or java.vendor
    in a way that is not known here; `place` names the class file in the message.
    """
    check = _Check(read_class(data, place))
    if not check.codes:
        return None
    words = list(dict.fromkeys(word for text in check.strings.values() for word in text.value.split("|")))
    known = [name for one in PLATFORMS for name in (one.name, one.oci)]
    machines = dict.fromkeys([word for word in words if re.fullmatch(r"\w+", word)] + known)
    nobody = check.refusals(_NOBODY, _NOBODY)
    accepts = _accepted(nobody, {name: check.refusals(name, _NOBODY) for name in machines})
    vendors = _accepted(nobody, {word: check.refusals(_NOBODY, word) for word in words})
    if not accepts and not vendors:
        return None
    return Requirements(check.own.replace("/", "."), accepts, vendors)


_Sites = frozenset[tuple[int, int]]


def _accepted(nobody: _Sites, tried: Mapping[str, _Sites]) -> tuple[str, ...]:
    """Those tried values that pass every refusal on which the tried values have an influence."""
    swayed = {site for sites in tried.values() for site in nobody - sites}
    return tuple(value for value, sites in tried.items() if swayed and not swayed & sites)


@dataclass(frozen=True, slots=True)
class _Text:
    """A string that is known; `watched` where it is one of the machine's properties."""

    value: str
    watched: bool = False


@dataclass(frozen=True, slots=True)
class _Property:
    """A constant of Guava's StandardSystemProperty."""

    name: str


@dataclass(frozen=True, slots=True)
class _Collection:
    """A set or list of known strings."""

    members: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A value that is not followed; `watched` where a property of the machine went into it."""

    watched: bool = False


_Value = _Text | _Property | _Collection | _Unknown | bool
_Stack = tuple[_Value, ...]
_Locals = tuple[tuple[int, _Value], ...]
_State = tuple[int, _Stack, _Locals]

_NOTHING = _Unknown()
_PUSHES = re.compile(r"aconst_null|iconst_.*|bipush|sipush|new")
_ENDS = re.compile(r"[ailfd]?return|athrow")


class _Check:
    """The methods of one class that ask for os.arch or java.vendor, and what they refuse."""

    def __init__(self, loaded: ClassFile) -> None:
        self.pool, self.own, self.steps = loaded.pool, loaded.name, 0
        asked = _asked(loaded)
        walked = ([*instructions(one.code, self.pool.place)] for one in loaded.methods if one.code)
        asking = [
            code for code in walked if any(one.name in _LOADS and one.operands[0] in asked for one in code)
        ]
        self.codes = [{one.offset: one for one in code} for code in asking]
        loads = dict.fromkeys(
            one.operands[0] for code in asking for one in code if one.name in ("ldc", "ldc_w")
        )
        strings = [index for index in loads if self.pool.tag(index) == Tag.STRING]
        if len(strings) > _STRINGS:
            raise self._strange(f"has {len(strings)} strings to compare with")
        self.strings = {index: _Text(self.pool.name(index)) for index in strings}
        self.machine: dict[str, str] = {}
        self.refused: set[tuple[int, int]] = set()

    def refusals(self, architecture: str, vendor: str) -> _Sites:
        """The calls, by method and offset, that refuse such a machine on some way through the code."""
        self.machine = {_ARCH: architecture, _VENDOR: vendor, _SYSTEM: "Linux"}
        self.refused = set()
        for method, code in enumerate(self.codes):
            first: _State = (0, (), ())
            seen, waiting = {first}, [first]
            while waiting:
                following = [state for state in self._step(method, code, *waiting.pop()) if state not in seen]
                seen.update(following)
                waiting.extend(following)
        return frozenset(self.refused)

    def _step(
        self, method: int, code: dict[int, Instruction], at: int, stack: _Stack, kept: _Locals
    ) -> list[_State]:
        self.steps += 1
        one = code.get(at)
        if one is None or self.steps > _STEPS or max(len(stack), len(kept)) > _DEPTH:
            raise self._strange("is longer than a check of the platform or leaves its own code")
        after = at + one.size
        short, number = _local(one)
        if _ENDS.fullmatch(one.name):
            return []
        if one.name in ("goto", "goto_w"):
            return [(one.targets[0], stack, kept)]
        if one.name.startswith("if"):
            return [
                (target, stack[: -1 - ("cmp" in one.name)], kept)
                for target in self._branch(one, after, stack)
            ]
        if short in ("aload", "iload"):
            return [(after, (*stack, dict(kept).get(number, _NOTHING)), kept)]
        if short in ("astore", "istore"):
            stored = {**dict(kept), number: self._top(stack, 1)[0]}
            return [(after, stack[:-1], tuple(sorted(stored.items(), key=lambda item: item[0])))]
        if one.name.startswith("invoke"):
            return [(after, self._call(one, stack, (method, at)), kept)]
        return [(after, self._stacked(one, stack), kept)]

    def _stacked(self, one: Instruction, stack: _Stack) -> _Stack:
        """The stack after an instruction that neither jumps, calls nor touches a local variable."""
        name = one.name
        if name in ("iconst_0", "iconst_1"):
            return (*stack, name == "iconst_1")
        if _PUSHES.fullmatch(name):
            return (*stack, _NOTHING)
        if name in ("ldc", "ldc_w"):
            return (*stack, self.strings.get(one.operands[0], _NOTHING))
        if name == "getstatic":
            field = self.pool.reference(one.operands[0])
            return (*stack, _Property(_property(field)) if _property(field) else _NOTHING)
        if name in ("dup", "anewarray", "checkcast", "aastore", "pop"):
            top = self._top(stack, 3 if name == "aastore" else 1)
            rest = stack[: -len(top)]
            return {"dup": (*stack, *top), "anewarray": (*rest, _NOTHING), "checkcast": stack}.get(name, rest)
        raise self._strange(f"uses {name}")

    def _branch(self, one: Instruction, after: int, stack: _Stack) -> list[int]:
        """Where a conditional jump may lead on this machine."""
        operands = self._top(stack, 2 if "cmp" in one.name else 1)
        first = operands[0]
        if isinstance(first, bool) and one.name in ("ifeq", "ifne"):
            return [one.targets[0] if first == (one.name == "ifne") else after]
        if isinstance(first, _Text) and one.name in ("ifnull", "ifnonnull"):
            return [one.targets[0] if one.name == "ifnonnull" else after]
        if any(_watched(value) for value in operands):
            raise self._strange("compares os.arch, os.name or java.vendor")
        return [one.targets[0], after]

    def _call(self, one: Instruction, stack: _Stack, site: tuple[int, int]) -> _Stack:
        called = self.pool.reference(one.operands[0])
        static = one.name in ("invokestatic", "invokedynamic")
        arguments = self._top(stack, _parameters(called.descriptor) + (not static))
        if (called.owner, called.name) in ((self.own, "failRequirement"), ("java/lang/System", "exit")):
            self.refused.add(site)
        elif called.owner == self.own and any(_watched(value) for value in arguments):
            raise self._strange(f"hands os.arch, os.name or java.vendor to {called.name}")
        rest = stack[: len(stack) - len(arguments)]
        return rest if called.descriptor.endswith(")V") else (*rest, self._result(called, arguments))

    def _result(self, called: Reference, arguments: _Stack) -> _Value:
        match called.name, arguments:
            case "value" | "getProperty", (_Property(name) | _Text(name), *_):
                known = self.machine.get(name)
                return _NOTHING if known is None else _Text(known, watched=True)
            case "equals", (_Text(left), _Text(right)):
                return left == right
            case "equalsIgnoreCase", (_Text(left), _Text(right)):
                return left.lower() == right.lower()
            case "matches", (_Text(text), _Text(".*")):
                return True
            case "matches", (_Text(text), _Text(pattern)) if re.fullmatch(r"[\w |-]+", pattern):
                return text in pattern.split("|")
            case "contains", (_Collection(members), _Text(text)):
                return text in members
            case "of", _ if all(isinstance(value, _Text) for value in arguments):
                return _Collection(frozenset(value.value for value in arguments if isinstance(value, _Text)))
        return _Unknown(any(_watched(value) for value in arguments))

    def _top(self, stack: _Stack, count: int) -> _Stack:
        if len(stack) < count:
            raise self._strange("takes more from the stack than there is")
        return stack[len(stack) - count :]

    def _strange(self, does: str) -> InputError:
        return InputError(
            f"{self.pool.place}: the platform check of {self.own} {does}, a form that is not known here; "
            "read with `javap -c -p` what it accepts."
        )


_LOADS = frozenset({"getstatic", "ldc", "ldc_w"})


def _asked(loaded: ClassFile) -> set[int]:
    """The constants by which a method asks for os.arch or java.vendor."""
    pool = loaded.pool
    names = {index for index in pool.indexes(Tag.STRING) if pool.name(index) in (_ARCH, _VENDOR)}
    fields = {i for i in pool.indexes(Tag.FIELDREF) if _property(pool.reference(i)) in (_ARCH, _VENDOR)}
    return names | fields


def _property(field: Reference) -> str:
    """The system property that a constant of Guava's enumeration stands for: OS_ARCH is os.arch."""
    guava = field.owner.endswith("/StandardSystemProperty")
    return field.name.lower().replace("_", ".") if guava else ""


def _watched(value: _Value) -> bool:
    return isinstance(value, _Text | _Unknown) and value.watched


def _local(one: Instruction) -> tuple[str, int]:
    """`aload_3` and `aload 3` alike as `("aload", 3)`; what touches no local variable is `("", 0)`."""
    short, _, number = one.name.partition("_")
    if short in ("aload", "astore", "iload", "istore"):
        return short, int(number) if number else one.operands[0]
    return "", 0


@lru_cache(maxsize=4096)
def _parameters(descriptor: str) -> int:
    """How many parameters a method descriptor has (JVMS 4.3.3)."""
    inside = descriptor[1:].partition(")")[0]
    count = at = 0
    while at < len(inside):
        if inside[at] == "L":
            at = max(inside.find(";", at), at)
        count += inside[at] != "["
        at += 1
    return count
