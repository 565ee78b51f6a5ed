#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh NAME FILE OUT.c: the file as a C string NAME. POSIX tools only.
set -eu
{
	printf '/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from %s. */\n' "${2##*/}"
	printf 'extern const char %s[];\n\nconst char %s[] = {\n' "$1" "$1"
	od -An -v -tx1 "$2" | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g'
	printf '0};\n'
} >"$3.tmp"
mv "$3.tmp" "$3"
