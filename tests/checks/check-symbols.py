#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What libbus.so exports, what libbus.sym lists and what the public headers declare is the same."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def exported():
    out = subprocess.run([os.environ.get("NM", "nm"), "-D", "--defined-only", os.environ["BUS_LIB"]],
                         check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines() if line.split()[-2] in "TDBRW"}
    # what the sanitizers and the linker add, and the version nodes
    return {n for n in names if not re.match(r"__(asan|ubsan|odr|sancov)|_(init|fini|edata|end)$", n)}


def listed():
    text = re.sub(r"#.*|/\*.*?\*/", "", (ROOT / "libbus/libbus.sym").read_text())
    return set(re.findall(r"^\s*(bus_\w+);", text, re.M))


def declared():
    text = "".join(h.read_text() for h in (ROOT / "libbus/include/bus").glob("*.h"))
    return set(re.findall(r"^BUS_API\s+[^;(]*?(\w+)\(", text, re.M))


def main():
    sets = {"libbus.so": exported(), "libbus.sym": listed(), "headers": declared()}
    names = set().union(*sets.values())
    errors = [f"{name} is missing in {where}" for name in sorted(names) for where, s in sets.items() if name not in s]
    print("\n".join(errors) or f"symbols: {len(names)} ok")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
