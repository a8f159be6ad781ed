#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every C file is as clang-format would write it; the public headers are laid out by hand, as documents.
# To repair: clang-format -i FILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
find bus libbus tools tests docs -name '*.[ch]' -not -path 'libbus/include/*' -print0 | sort -z |
    xargs -0 clang-format --dry-run --Werror --ferror-limit=1
echo "format: ok"
