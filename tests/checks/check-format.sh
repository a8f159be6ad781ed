#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every C file is as clang-format would write it; the public headers are laid out by hand, as documents.
# To repair: clang-format -i FILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Versions disagree about details; the tree follows Debian 12's.
version=$(clang-format --version | sed -E 's/.*version ([0-9]+).*/\1/')
if [ "$version" != 14 ]; then
    echo "format: not checked: clang-format is version $version, the tree is formatted by 14"
    exit 77
fi
find bus libbus tools tests docs -name '*.[ch]' -not -path 'libbus/include/*' -print0 | sort -z |
    xargs -0 clang-format --dry-run --Werror --ferror-limit=1
echo "format: ok"
