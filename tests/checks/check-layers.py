#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which folder may include which: the table of docs/architecture.md. Also: no include cycle among headers."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)
# Where a name in an #include is looked for, besides the folder of the including file.
SEARCH = ["libbus/include", "libbus", "bus"]

# layer -> layers it may include. A file belongs to the deepest layer its path begins with.
ALLOWED = {
    "libbus/include/bus": {"libbus/include/bus"},
    "libbus/base": {"libbus/base"},
    "libbus/wire": {"libbus/wire", "libbus/base", "types", "generated"},
    "libbus/client": {"libbus/client", "libbus/wire", "libbus/base", "libbus/include/bus"},
    "bus/core": {"bus/core", "libbus/wire", "libbus/base", "types"},
    "bus/io": {"bus/io", "libbus/wire", "libbus/base", "types"},
    "bus": {"bus", "bus/core", "bus/io", "libbus/wire", "libbus/base", "types"},
    "tools": {"tools", "libbus/include/bus"},
    "docs": {"docs", "libbus/include/bus"},
}
# layer -> headers it must not see: what makes the outside world visible to it.
WORLD = {"uv.h", "time.h", "stdio.h", "poll.h", "syslog.h", "netdb.h", "signal.h", "fcntl.h",
         "pthread.h", "threads.h", "sys/socket.h", "sys/un.h", "sys/epoll.h", "sys/time.h",
         "sys/stat.h", "sys/mman.h", "base/sock.h", "base/clock.h", "base/address.h"}
FORBIDDEN = {
    "bus/core": WORLD,
    "libbus/wire": WORLD,
    "libbus/base": {"uv.h", "syslog.h"},
    "libbus/client": {"uv.h", "syslog.h"},
    "tools": {"uv.h"},
}


def layer_of(path):
    return max((layer for layer in ALLOWED if path.startswith(layer + "/")), key=len, default=None)


def resolve(source, quote, name):
    """Path of an included file in this tree, or None if it is not of this tree."""
    for folder in [str(source.parent.relative_to(ROOT))] * (quote == '"') + SEARCH:
        if (ROOT / folder / name).is_file():
            return str((ROOT / folder / name).resolve().relative_to(ROOT))
    return None


def target_layer(path, name, source_layer):
    if path is None:
        return "generated" if name == "bus.pb-c.h" else None
    # the numbers of the protocol are shared by all; the rest of the public headers is for applications
    shared = ("libbus/include/bus/types.h", "libbus/include/bus/inside_fields.h")
    if path in shared and "types" in ALLOWED[source_layer]:
        return "types"
    return layer_of(path)


def find_cycle(graph):
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        cycle = next(filter(None, map(visit, sorted(graph.get(node, ())))), None)
        path.pop()
        done.add(node)
        return cycle

    return next(filter(None, map(visit, sorted(graph))), None)


def main():
    errors, graph = [], {}
    for source in sorted(p for top in ("libbus", "bus", "tools", "docs") 
                         for p in (ROOT / top).rglob("*.[ch]")):
        rel = str(source.relative_to(ROOT))
        layer = layer_of(rel)
        for quote, name in INCLUDE.findall(source.read_text()):
            path = resolve(source, quote, name)
            target = target_layer(path, name, layer)
            if target and target not in ALLOWED[layer]:
                errors.append(f"{rel}: {layer} must not include {name} (of {target})")
            if name in FORBIDDEN.get(layer, ()) or "protobuf-c/" in name:
                errors.append(f"{rel}: {layer} must not see {name}")
            if path and rel.endswith(".h"):
                graph.setdefault(rel, set()).add(path)
    cycle = find_cycle(graph)
    if cycle:
        errors.append("include cycle: " + " -> ".join(cycle))
    print("\n".join(errors) or "layers: ok")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
