"""What is tried of each native library, in the JVM of the image whose python3 runs this.

Standard library only, Python 3.7 or later. Usage:

    python3 -m pulsar_arm.inside.probe CLASS_PATH JVM_OPTIONS PROBE...

CLASS_PATH may hold `FOLDER/*`; JVM_OPTIONS are separated by spaces. Each probe leaves two lines on stdout,
`@begin NAME` and `@passed NAME words` or `@failed NAME words`; a JVM that dies leaves only the first. All
else that is written are the libraries' own words.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pulsar_arm.inside.jni import Java, JavaError

# What is tried of each library. Texts that compress, texts that do not, and the lengths at which a copy of
# 4, 8, 16 or 64 bytes at a time ends: snappy-java 1.1.7 damages only some.
_TEXTS = [bytes((number * number >> 3) & 255 for number in range(size)) for size in (0, 1, 17, 255, 4099)]
_TEXTS += [b"pulsar on aarch64, " * count for count in (1, 3, 9, 70, 4000)] + [os.urandom(70000)]


def _round_trips(pack: Callable[[bytes], bytes], unpack: Callable[[bytes, int], bytes]) -> str:
    damaged = [len(text) for text in _TEXTS if unpack(pack(text), len(text)) != text]
    if damaged:
        counted = str(len(damaged)) + " of " + str(len(_TEXTS))
        raise JavaError(counted + " texts came back damaged, of " + ", ".join(map(str, damaged)) + " bytes")
    return str(len(_TEXTS)) + " round trips"


def _available(java: Java, owner: str, tells: str = "isAvailable") -> str:
    if not java.call(owner, tells, "()Z", None):
        cause = java.call(owner, "unavailabilityCause", "()Ljava/lang/Throwable;", None)
        raise JavaError(java.words(cause) if cause else owner + "." + tells + "() is false")
    return owner.rsplit("/", 1)[-1] + "." + tells + "() is true"


def rocksdbjni(java: Java) -> str:
    """Put, flush to a file compressed with LZ4 (as BookKeeper's ledger index is), and get."""
    options = java.new("org/rocksdb/Options")
    java.call("org/rocksdb/Options", "setCreateIfMissing", "(Z)Lorg/rocksdb/Options;", options, True)
    kind = "org/rocksdb/CompressionType"
    lz4 = java.field(kind, "LZ4_COMPRESSION", "L" + kind + ";")
    java.call(
        "org/rocksdb/Options", "setCompressionType", "(L" + kind + ";)Lorg/rocksdb/Options;", options, lz4
    )
    rocks = "org/rocksdb/RocksDB"
    opening = "(Lorg/rocksdb/Options;Ljava/lang/String;)Lorg/rocksdb/RocksDB;"
    with tempfile.TemporaryDirectory() as folder:
        store = java.call(rocks, "open", opening, None, options, folder)
        for number, text in enumerate(_TEXTS):
            java.call(rocks, "put", "([B[B)V", store, b"key-%d" % number, text)
        flush = java.new("org/rocksdb/FlushOptions")
        java.call(rocks, "flush", "(Lorg/rocksdb/FlushOptions;)V", store, flush)
        read = [java.call(rocks, "get", "([B)[B", store, b"key-%d" % number) for number in range(len(_TEXTS))]
        java.call("org/rocksdb/RocksObject", "close", "()V", store)
    if read != _TEXTS:
        raise JavaError("what was read is not what was written")
    return str(len(_TEXTS)) + " values put, flushed with LZ4, got"


def netty_tcnative_boringssl_static(java: Java) -> str:
    """Netty's own question, which loads it."""
    said = _available(java, "io/netty/handler/ssl/OpenSsl")
    return (
        said
        + ", "
        + str(java.call("io/netty/handler/ssl/OpenSsl", "versionString", "()Ljava/lang/String;", None))
    )


def netty_transport_native_epoll(java: Java) -> str:
    """Netty's own question; then an event loop, which uses it."""
    said = _available(java, "io/netty/channel/epoll/Epoll")
    group = java.new("io/netty/channel/epoll/EpollEventLoopGroup", "(I)V", 1)
    java.call("io/netty/channel/epoll/EpollEventLoopGroup", "next", "()Lio/netty/channel/EventLoop;", group)
    return said + ", and an event loop group is made"


def netty_incubator_transport_native_io_uring(java: Java) -> str:
    """Netty's own question; the kernel may say no as well as the loader."""
    return _available(java, "io/netty/incubator/channel/uring/IOUring")


def snappy_java(java: Java) -> str:
    """Round trips."""
    owner = "org/xerial/snappy/Snappy"
    return _round_trips(
        lambda text: java.call(owner, "compress", "([B)[B", None, text),
        lambda text, _size: java.call(owner, "uncompress", "([B)[B", None, text),
    )


def zstd_jni(java: Java) -> str:
    """Round trips."""
    owner = "com/github/luben/zstd/Zstd"
    return _round_trips(
        lambda text: java.call(owner, "compress", "([B)[B", None, text),
        lambda text, size: java.call(owner, "decompress", "([BI)[B", None, text, size),
    )


def lz4_java(java: Java) -> str:
    """Round trips by the native instance, not by the Java one that stands in for it."""
    owner, fast, back = (
        "net/jpountz/lz4/" + name for name in ("LZ4Factory", "LZ4Compressor", "LZ4FastDecompressor")
    )
    factory = java.call(owner, "nativeInstance", "()L" + owner + ";", None)
    packer = java.call(owner, "fastCompressor", "()L" + fast + ";", factory)
    unpacker = java.call(owner, "fastDecompressor", "()L" + back + ";", factory)
    return _round_trips(
        lambda text: java.call(fast, "compress", "([B)[B", packer, text),
        lambda text, size: java.call(back, "decompress", "([BI)[B", unpacker, text, size),
    )


def jna(java: Java) -> str:
    """Call getpid of the C library through it."""
    owner = "com/sun/jna/NativeLibrary"
    process = java.call(owner, "getProcess", "()L" + owner + ";", None)
    function = java.call(
        owner, "getFunction", "(Ljava/lang/String;)Lcom/sun/jna/Function;", process, "getpid"
    )
    number = java.call(
        "com/sun/jna/Function", "invokeInt", "([Ljava/lang/Object;)I", function, java.no_objects()
    )
    if number != os.getpid():
        raise JavaError("getpid() through JNA gave " + str(number))
    return "getpid() of the C library called"


def circe_checksum(java: Java) -> str:
    """The check value of CRC-32C, and whether the processor's instructions compute it."""
    buffer, check = "io/netty/buffer/ByteBuf", 0xE3069283
    text = java.call("io/netty/buffer/Unpooled", "wrappedBuffer", "([B)L" + buffer + ";", None, b"123456789")
    owner = "com/scurrilous/circe/checksum/Crc32cIntChecksum"
    if java.call(owner, "computeChecksum", "(L" + buffer + ";)I", None, text) & 0xFFFFFFFF != check:
        raise JavaError("the CRC-32C of 123456789 came out wrong")
    if not java.call("com/scurrilous/circe/crc/Sse42Crc32C", "isSupported", "()Z", None):
        raise JavaError("Sse42Crc32C.isSupported() is false; the Java checksum is right")
    return "the checksum is right, Sse42Crc32C.isSupported() is true"


def conscrypt_openjdk_uber(java: Java) -> str:
    """Its own question, whose exception names the library that was looked for."""
    java.call("org/conscrypt/Conscrypt", "checkAvailability", "()V", None)
    return "Conscrypt.checkAvailability() agrees"


def codec(java: Java, name: str) -> str:
    """Round trips through Pulsar's own codec of messages, native or not."""
    kind, owner = (
        "org/apache/pulsar/client/api/CompressionType",
        "org/apache/pulsar/common/compression/CompressionCodec",
    )
    buffer = "io/netty/buffer/ByteBuf"
    constant = java.field(kind, name, "L" + kind + ";")
    one = java.call(
        owner + "Provider", "getCompressionCodec", "(L" + kind + ";)L" + owner + ";", None, constant
    )

    def content(held: ctypes.c_void_p) -> bytes:
        given = java.call("io/netty/buffer/ByteBufUtil", "getBytes", "(L" + buffer + ";)[B", None, held)
        return bytes(given)

    def wrapped(text: bytes) -> ctypes.c_void_p:
        held: ctypes.c_void_p = java.call(
            "io/netty/buffer/Unpooled", "wrappedBuffer", "([B)L" + buffer + ";", None, text
        )
        return held

    return _round_trips(
        lambda text: content(
            java.call(owner, "encode", "(L" + buffer + ";)L" + buffer + ";", one, wrapped(text))
        ),
        lambda text, size: content(
            java.call(owner, "decode", "(L" + buffer + ";I)L" + buffer + ";", one, wrapped(text), size)
        ),
    )


def grpc_netty_shaded(java: Java) -> str:
    """The questions of the Netty inside it."""
    return _available(java, "io/grpc/netty/shaded/io/netty/handler/ssl/OpenSsl")


def native_io(java: Java) -> str:
    """Open and close a file through it."""
    owner = "org/apache/bookkeeper/common/util/nativeio/NativeIOJni"
    with tempfile.NamedTemporaryFile() as file:
        number = java.call(owner, "open", "(Ljava/lang/String;II)I", None, file.name, os.O_RDONLY, 0)
        java.call(owner, "close", "(I)I", None, number)
    return "a file opened and closed"


def requirements(java: Java, owner: str) -> str:
    """What Presto's or Trino's server asks of its machine first; it ends the JVM when it is refused."""
    name = "verifySystemRequirements" if "trino" in owner else "verifyJvmRequirements"
    java.call(owner.replace(".", "/"), name, "()V", None)
    return owner.rsplit(".", 1)[-1] + "." + name + "() agrees"


PROBES = {
    "rocksdbjni": rocksdbjni,
    "netty-tcnative-boringssl-static": netty_tcnative_boringssl_static,
    "netty-transport-native-epoll": netty_transport_native_epoll,
    "netty-incubator-transport-native-io_uring": netty_incubator_transport_native_io_uring,
    "grpc-netty-shaded": grpc_netty_shaded,
    "snappy-java": snappy_java,
    "zstd-jni": zstd_jni,
    "lz4-java": lz4_java,
    "lz4": lz4_java,
    "jna": jna,
    "jna-jpms": jna,
    "circe-checksum": circe_checksum,
    "conscrypt-openjdk-uber": conscrypt_openjdk_uber,
    "native-io": native_io,
}


def main(class_path: str, options: str, *names: str) -> None:
    """Try each name in turn: `LIBRARY`, `codec:NAME` or `requirements:CLASS`."""
    places = []
    for place in class_path.split(":"):
        # As the java program does with a wildcard.
        jars = sorted(map(str, Path(place[:-1]).glob("*.jar"))) if place.endswith("/*") else [place]
        places += jars
    _say("@begin JVM")
    began = time.monotonic()
    try:
        java = Java(":".join(places), options.split())
        version, vendor = (_property(java, name) for name in ("java.version", "java.vendor"))
        _say(f"@passed JVM Java {version} of {vendor} starts ({time.monotonic() - began:.0f} s)")
    except JavaError as error:
        _say(f"@failed JVM {error}")
        return
    for name in names:
        _say(f"@begin {name}")
        began = time.monotonic()
        try:
            kind, said = "@passed", _try(java, name)
        except JavaError as error:
            kind, said = "@failed", str(error)
        _say(f"{kind} {name} {said} ({time.monotonic() - began:.0f} s)")
    # Threads of the libraries may hold the JVM; what they still want to do is of no matter.
    os._exit(0)


def _property(java: Java, name: str) -> str:
    signature = "(Ljava/lang/String;)Ljava/lang/String;"
    return str(java.call("java/lang/System", "getProperty", signature, None, name))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _try(java: Java, name: str) -> str:
    kind, _, subject = name.partition(":")
    if subject:
        return {"codec": codec, "requirements": requirements}[kind](java, subject)
    return PROBES[name](java)


if __name__ == "__main__":
    main(*sys.argv[1:])
