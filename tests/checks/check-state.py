#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bus/core/kinds.h and core/handover.h have the kinds, the fields and the numbers of schemas/state.proto."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def header():
    """(message or Kind, field) -> number, as the source says."""
    text = (ROOT / "bus/core/kinds.h").read_text()
    first, *rest = re.findall(r"enum (?:state_kind )?\{(.*?)\};", text, re.S)
    kinds = re.findall(r"STATE_(\w+) = (\d+)", first)
    found = {("Kind", name): int(n) for name, n in kinds}
    # the longest kind that a name begins with: CALL_ROW before CALL
    names = sorted((k for k, _ in kinds), key=len, reverse=True)
    for body in rest:
        for field, n in re.findall(r"(\w+) = (\d+)", body):
            kind = next(k for k in names if field.startswith(k + "_"))
            found[camel(kind), field[len(kind) + 1:].lower()] = int(n)
    del found["Peer", "plain"]
    plain = (ROOT / "bus/core/handover.h").read_text()
    found.update({("Peer", field): int(n) for n, field in re.findall(r"\bX\((\d+), (\w+)\)", plain)})
    return found


def schema():
    text = (ROOT / "schemas/state.proto").read_text()
    found = {("Kind", k): int(n) for k, n in re.findall(r"^  ([A-Z_]+) = (\d+);", text, re.M) if k != "NONE"}
    for message, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.S | re.M):
        found.update({(message, f): int(n) for f, n in re.findall(r"^  \w+ (\w+) = (\d+);", body, re.M)})
    return found


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


def main():
    ours, theirs = header(), schema()
    errors = [f"state: {m}.{f} is {ours.get((m, f))} in the source and {theirs.get((m, f))} in the schema"
              for m, f in sorted(ours.keys() | theirs.keys()) if ours.get((m, f)) != theirs.get((m, f))]
    print("\n".join(errors) or f"state: {len(ours)} numbers ok")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
