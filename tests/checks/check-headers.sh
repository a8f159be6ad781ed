#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each public header compiles alone, as C99 and C++17 (and C++11), with all warnings.
set -euo pipefail
cd "$(dirname "$0")/../.."
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only -Ilibbus/include)
# <uv.h>, which bus/uv.h is for, needs more than plain C99 from the system's headers
warnings+=(-D_GNU_SOURCE)
for header in libbus/include/bus/*.h; do
    name=bus/$(basename "$header")
    for compiler in gcc clang; do
        command -v "$compiler" > /dev/null || continue
        printf '#include <%s>\n' "$name" | "$compiler" -x c -std=c99 -Wstrict-prototypes "${warnings[@]}" -
    done
    for standard in c++11 c++17; do
        printf '#include <%s>\n' "$name" | g++ -x c++ "-std=$standard" "${warnings[@]}" -
    done
done
echo "headers: ok"
