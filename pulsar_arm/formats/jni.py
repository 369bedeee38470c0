"""Match native methods with what a library offers for them (JNI specification, chapters 2 and 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pulsar_arm.formats.classfile import ClassFile
from pulsar_arm.formats.symbols import Symbols

NATIVE = 0x0100
_ESCAPES = {"_": "_1", ";": "_2", "[": "_3", "/": "_"}


@dataclass(frozen=True, slots=True)
class Binding:
    """What is left over when natives and functions are matched."""

    unbound: tuple[str, ...]
    """Native methods that no function stands for: UnsatisfiedLinkError when they are called."""
    rejected: tuple[str, ...]
    """Methods the library registers that no class declares native: NoSuchMethodError when it is loaded."""


def mangle(class_name: str, method: str, descriptor: str = "") -> str:
    """The symbol of a native method: the short name, or the long one when a descriptor is given.

    `class_name` is internal, `java/lang/String`. JNI specification, "Resolving Native Method Names".
    """
    symbol = f"Java_{_escape(class_name)}_{_escape(method)}"
    if descriptor:
        symbol += f"__{_escape(descriptor[1 : descriptor.index(')')])}"
    return symbol


def bind(classes: Iterable[ClassFile], symbols: Symbols) -> Binding:
    """Match all native methods of `classes` with the functions of the library they load.

    A table that is made at run time, as Netty does for methods that name Netty's own classes, cannot be
    read; such a method counts as bound when the library holds its name, so this side errs towards yes.
    """
    unbound, declared = list[str](), set[tuple[str, str]]()
    for one in classes:
        for method in one.methods:
            if not method.access & NATIVE:
                continue
            declared.add((method.name, method.descriptor))
            spellings = {mangle(one.name, method.name), mangle(one.name, method.name, method.descriptor)}
            if (
                spellings.isdisjoint(symbols.exported)
                and (method.name, method.descriptor) not in symbols.registered
                and not ("L" in method.descriptor and method.name in symbols.texts)
            ):
                unbound.append(f"{one.name}.{method.name}:{method.descriptor}")
    rejected = [f"{name}:{descriptor}" for name, descriptor in symbols.registered - declared]
    return Binding(tuple(sorted(unbound)), tuple(sorted(rejected)))


def _escape(text: str) -> str:
    return "".join(
        _ESCAPES.get(one) or (one if one.isascii() and one.isalnum() else _unicode(one)) for one in text
    )


def _unicode(one: str) -> str:
    """`_0xxxx` for each UTF-16 unit, in small hex digits."""
    raw = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"_0{raw[at : at + 2].hex()}" for at in range(0, len(raw), 2))
