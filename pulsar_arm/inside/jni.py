"""A JVM called from Python, through JNI and ctypes: no compiler, no class file, any JRE from 8 on.

Runs inside an image, on the image's own python3 (3.7 or later): standard library only.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union

# Indices of the function tables: JNI specification, chapters 4 and 5. The `A` forms take an array of jvalue.
_FIND_CLASS, _EXCEPTION_OCCURRED, _EXCEPTION_CLEAR = 6, 15, 17
_NEW_OBJECT, _GET_METHOD, _GET_STATIC_METHOD = 30, 33, 113
_GET_STATIC_FIELD, _GET_STATIC_OBJECT = 144, 145
_NEW_STRING, _GET_STRING, _RELEASE_STRING = 167, 169, 170
_GET_LENGTH, _NEW_OBJECTS, _NEW_BYTES, _GET_BYTES, _SET_BYTES = 171, 172, 176, 200, 208
# By the first letter of the type that is returned: instance call, static call, C type.
_INSTANCE = {"L": 36, "[": 36, "Z": 39, "I": 51, "J": 54, "V": 63}
_STATIC = {"L": 116, "[": 116, "Z": 119, "I": 131, "J": 134, "V": 143}
_RETURNED = {"Z": ctypes.c_uint8, "I": ctypes.c_int32, "J": ctypes.c_int64, "V": None}
_JNI_VERSION = 0x00010006
_TYPE = re.compile(r"\[*(?:L[^;]+;|[ZBCSIJFD])")

Value = Union[None, bool, int, str, bytes, ctypes.c_void_p]  # noqa: UP007 - Python 3.7 evaluates it
_P = ctypes.c_void_p


class _Option(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("extra", _P)]


class _Arguments(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("options", ctypes.POINTER(_Option)),
        ("ignore", ctypes.c_uint8),
    ]


class JavaError(Exception):
    """A Java exception: its words and those of its causes."""


class Java:
    """A JVM in this process; types and members are named as JNI does: `java/lang/String`, `([B)I`."""

    def __init__(self, class_path: str, options: Sequence[str]) -> None:
        """Start it with the libjvm.so that belongs to JAVA_HOME, or to `java` on the PATH."""
        told = ["-Djava.class.path=" + class_path, *options]
        rows = (_Option * len(told))(*[_Option(os.fsencode(one), None) for one in told])
        arguments = _Arguments(_JNI_VERSION, len(told), rows, 0)
        vm, self._env = _P(), ctypes.POINTER(ctypes.POINTER(_P))()
        create = ctypes.CDLL(_libjvm(), mode=ctypes.RTLD_GLOBAL).JNI_CreateJavaVM
        status = create(ctypes.byref(vm), ctypes.byref(self._env), ctypes.byref(arguments))
        if status != 0:
            raise JavaError("JNI_CreateJavaVM gave " + str(status))

    def call(
        self, owner: str, name: str, signature: str, this: ctypes.c_void_p | None, *values: Value
    ) -> Any:
        """Call a method on the object `this`, or the static method `name` when it is None."""
        returned = signature.split(")")[1]
        clazz = self.find(owner)
        if this is None:
            get, index, on = _GET_STATIC_METHOD, _STATIC[returned[0]], clazz
        else:
            get, index, on = _GET_METHOD, _INSTANCE[returned[0]], this
        method = self._jni(get, _P, clazz, name.encode(), signature.encode())
        result = _RETURNED.get(returned[0], _P)
        return self._python(
            self._jni(index, result, on, _P(method), self._values(signature, values)), returned
        )

    def new(self, owner: str, signature: str = "()V", *values: Value) -> ctypes.c_void_p:
        """Make an object."""
        clazz = self.find(owner)
        method = self._jni(_GET_METHOD, _P, clazz, b"<init>", signature.encode())
        return _P(self._jni(_NEW_OBJECT, _P, clazz, _P(method), self._values(signature, values)))

    def field(self, owner: str, name: str, kind: str) -> ctypes.c_void_p:
        """The object in a static field, as an enum's constants are."""
        clazz = self.find(owner)
        place = self._jni(_GET_STATIC_FIELD, _P, clazz, name.encode(), kind.encode())
        return _P(self._jni(_GET_STATIC_OBJECT, _P, clazz, _P(place)))

    def no_objects(self) -> ctypes.c_void_p:
        """An empty Object[]: varargs that are not given."""
        return _P(self._jni(_NEW_OBJECTS, _P, ctypes.c_int32(0), self.find("java/lang/Object"), None))

    def find(self, name: str) -> ctypes.c_void_p:
        """A class, by the class path's loader."""
        return _P(self._jni(_FIND_CLASS, _P, name.encode()))

    def words(self, throwable: ctypes.c_void_p) -> str:
        """What an exception, its causes and those it suppressed say, in one line."""
        said: list[str] = []
        todo = [throwable]
        while todo and len(said) < 8:
            one = todo.pop(0)
            said.append(
                " ".join(self.call("java/lang/Throwable", "toString", "()Ljava/lang/String;", one).split())
            )
            cause = self.call("java/lang/Throwable", "getCause", "()Ljava/lang/Throwable;", one)
            # Netty names each place where it looked by an exception of its own.
            todo += [cause] if cause else []
        return " <- ".join(dict.fromkeys(said))

    def _jni(self, index: int, result: Any, *values: Any) -> Any:
        kinds = [type(value) if isinstance(value, ctypes._SimpleCData) else _P for value in values]
        kinds = [ctypes.c_char_p if isinstance(value, bytes) else kind for value, kind in zip(values, kinds)]  # noqa: B905 - since 3.10
        given = self._function(index, result, *kinds)(self._env, *values)
        thrown = self._function(_EXCEPTION_OCCURRED, _P)(self._env)
        if thrown:
            self._function(_EXCEPTION_CLEAR, None)(self._env)
            raise JavaError(self.words(_P(thrown)))
        return given

    def _function(self, index: int, result: Any, *kinds: Any) -> Callable[..., Any]:
        table = self._env.contents
        return ctypes.CFUNCTYPE(result, _P, *kinds)(table[index])

    def _values(self, signature: str, values: Sequence[Value]) -> Any:
        kinds = _TYPE.findall(signature[1:].split(")")[0])
        row = (ctypes.c_uint64 * max(len(values), 1))()
        for number, (kind, value) in enumerate(zip(kinds, values)):  # noqa: B905 - since 3.10
            row[number] = self._native(kind, value)
        return ctypes.cast(row, _P)

    def _native(self, kind: str, value: Value) -> int:
        if isinstance(value, bytes):
            array = self._jni(_NEW_BYTES, _P, ctypes.c_int32(len(value)))
            self._jni(_SET_BYTES, None, _P(array), ctypes.c_int32(0), ctypes.c_int32(len(value)), value)
            return int(array)
        if isinstance(value, str):
            return int(self._jni(_NEW_STRING, _P, value.encode()))
        if isinstance(value, _P):
            return value.value or 0
        return int(value or 0) & (2**64 - 1)

    def _python(self, given: Any, kind: str) -> Any:
        if kind == "Ljava/lang/String;" and given:
            text = self._jni(_GET_STRING, _P, _P(given), None)
            value = ctypes.string_at(text).decode(errors="replace")
            self._jni(_RELEASE_STRING, None, _P(given), _P(text))
            return value
        if kind == "[B" and given:
            length = self._jni(_GET_LENGTH, ctypes.c_int32, _P(given))
            room = ctypes.create_string_buffer(length)
            self._jni(
                _GET_BYTES, None, _P(given), ctypes.c_int32(0), ctypes.c_int32(length), ctypes.cast(room, _P)
            )
            return room.raw
        if kind == "Z":
            return bool(given)
        return (_P(given) if given else None) if kind[0] in "L[" else given


def _libjvm() -> str:
    homes = [Path(os.environ.get("JAVA_HOME") or "/nowhere")]
    java = shutil.which("java")
    if java:
        homes += Path(java).resolve().parents[1:3]
    for home in homes:
        for place in ("lib/server", "jre/lib/*/server", "lib/*/server"):
            for found in home.glob(place + "/libjvm.so"):
                return str(found)
    raise JavaError(f"there is no libjvm.so below JAVA_HOME ({homes[0]}), nor beside the java of the PATH")
