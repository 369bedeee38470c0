#!/bin/bash
# What the platform check of a Presto or Trino jar accepts on Linux, as javap tells it; none of our code is used.
#   tests/javap_checks.sh GROUP:ARTIFACT:VERSION=JAR...     prints a line of goldens/checks.txt for each
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
for pair in "$@"; do
    coordinate=${pair%%=*} jar=${pair#*=}
    entry=$(unzip -Z1 "$jar" | grep 'SystemRequirements\.class$')
    unzip -q -o "$jar" "$entry" -d "$work"
    code=$(javap -c -p -cp "$work" "${entry%.class}")
    machines=$(awk '/String Linux$/ {on = 1} /String Mac OS X$/ {on = 0} on && /String / {print $NF}' <<<"$code" |
        grep -xE 'amd64|aarch64|ppc64le|x86_64|s390x|i386' | awk '!seen[$0]++' | paste -sd,)
    vendor=$(grep -oE 'String Oracle Corporation$' <<<"$code" | head -n 1 || true)
    vendor=${vendor#String }
    echo "$coordinate | $entry | $machines | ${vendor:--}"
done
