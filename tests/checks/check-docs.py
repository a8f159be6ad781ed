#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every BUS_API function has a documentation block with its fixed sections, and lists the errors it names. What docs/security.md says that
something is kept or tested by is there."""
import errno
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# a block, and the BUS_API declaration right behind it
FUNCTION = re.compile(r"(?:/\*\*((?:(?!\*/).)*)\*/\s*)?^BUS_API\s+([^;(]*?)(\w+)\(([^;]*)\);", re.S | re.M)


def section(block, name):
    """Text of a section: from its title to the next title or empty line pair."""
    match = re.search(rf"^ \* {name}:(.*?)(?=^ \* \w[\w ]*:|\Z)", block, re.S | re.M)
    return match.group(1) if match else None


def check(where, block, returns, name, parameters):
    if block is None:
        return [f"{where}: {name} has no documentation block"]
    errors = []
    if f"{name}() - " not in block:
        errors.append("does not begin with its name and a summary")
    wanted = ["Ownership", "Threads", "Since"]
    if returns.strip() != "void":
        wanted.insert(0, "Returns")
    errors += [f"has no section {s}" for s in wanted if section(block, s) is None]
    for parameter in re.findall(r"(\w+)(?:,|$|\[)", parameters.replace("\n", " ").strip()):
        if parameter != "void" and f"@{parameter}" not in block:
            errors.append(f"does not say what @{parameter} is")
    listed = section(block, "Errors") or ""
    if returns.strip() == "int" and re.search(r"-E[A-Z]+", block) and not listed:
        errors.append("names errors, but not in a section Errors")
    codes = re.findall(r"-(E[A-Z0-9]+)\b", block)
    errors += [f"names -{c}, which is no errno" for c in codes if not hasattr(errno, c)]
    lines = re.findall(r"^ \*   -(E[A-Z0-9]+)(.*)$", listed, re.M)
    errors += [f"says nothing about -{code}" for code, text in lines if not text.strip(" ,-E")]
    return [f"{where}: {name} {e}" for e in errors]


# a row of the promises: | promise | kept by | tested by |
ROW = re.compile(r"^\| \*\*(.*?)\*\*.*\| ([^|]*) \| ([^|]*) \|$", re.M)


def check_promises():
    path = ROOT / "docs/security.md"
    text = path.read_text()
    rows = ROW.findall(text)
    errors = [] if rows else ["security.md: no promises are found by this check"]
    for promise, kept_by, tested_by in rows:
        if not re.search(r"`[^`]+`", kept_by):
            errors.append(f"security.md: {promise} is kept by nothing")
        if not re.search(r"`tests/|bus-hostile", tested_by):
            errors.append(f"security.md: {promise} is not tested")
    for name in sorted(set(re.findall(r"`((?:bus|libbus|tests)/[\w./-]+)`", text))):
        if not (ROOT / name).exists():
            errors.append(f"security.md: there is no {name}")
    return errors


def main():
    errors, n = check_promises(), 0
    for header in sorted((ROOT / "libbus/include/bus").glob("*.h")):
        text = header.read_text()
        for match in FUNCTION.finditer(text):
            line = text.count("\n", 0, match.start(2)) + 1
            errors += check(f"{header.name}:{line}", *match.groups())
            n += 1
        declared = len(re.findall(r"^BUS_API", text, re.M))
        if declared != len(FUNCTION.findall(text)):
            errors.append(f"{header.name}: {declared} functions, not all of them understood by this check")
    print("\n".join(errors) or f"docs: {n} functions ok")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
