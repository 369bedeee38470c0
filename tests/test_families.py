from __future__ import annotations

import pytest

from pulsar_arm.families import family


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "META-INF/native/libnetty_tcnative_linux_x86_64.so",
            "META-INF/native/libnetty_tcnative_linux_aarch_64.so",
        ),
        ("librocksdbjni-linux64.so", "librocksdbjni-linux-aarch64-musl.so"),
        ("com/sun/jna/linux-x86-64/libjnidispatch.so", "com/sun/jna/linux-aarch64/libjnidispatch.so"),
        ("jni/x86_64-Linux/libjffi-1.2.so", "jni/aarch64-Linux/libjffi-1.2.so"),
        ("linux/amd64/libzstd-jni-1.5.7-3.so", "linux/aarch64/libzstd-jni-1.5.7-3.so"),
        ("META-INF/native/linux64/libleveldbjni.so", "META-INF/native/linux64/aarch64/libleveldbjni.so"),
        ("Linux/armv7/libx.so", "Linux/riscv64/libx.so"),
        ("natives/linux_64/libx.so", "natives/linux_arm64/libx.so"),
    ],
)
def test_builds_for_two_machines_are_of_one_family(one: str, other: str) -> None:
    assert family(one) == family(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("native/libnetty_tcnative_linux_x86_64.so", "native/libnetty_transport_native_epoll_x86_64.so"),
        ("org/a/native/Linux/x86_64/libx.so", "org/b/native/Linux/x86_64/libx.so"),
        ("libbase64.so", "libbase32.so"),
        ("libcharm.so", "libch.so"),
    ],
)
def test_two_libraries_are_of_two_families(one: str, other: str) -> None:
    assert family(one) != family(other)
