"""Make the Debian base for a Java release: `bench_base.py CACHE JRE [ARCHIVE]`, for `bench.py`."""

import sys
from pathlib import Path

from pulsar_arm.base import debian_base
from pulsar_arm.catalog import folder
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64

definition = folder("dockerfiles") / "bases" / "debian.toml"
base = debian_base(definition, int(sys.argv[2]), AARCH64, Path(sys.argv[1]), progress=Silent())
if sys.argv[3:]:
    write_archive(base.image, Path(sys.argv[3]), "pulsar-arm/bench:base", force=True)
