#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh IMAGE OUT.c: the image as a C array (probe_image.h). POSIX tools only, and no inclusion
# by the assembler, so that the build system sees the dependency and every compiler takes the result.
set -eu
{
	printf '/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from %s. */\n' "${1##*/}"
	printf '#include <stddef.h>\n\n'
	printf 'extern const unsigned char probe_image[];\n'
	printf 'extern const size_t probe_image_size;\n\n'
	printf '__attribute__((aligned(16))) const unsigned char probe_image[] = {\n'
	od -An -v -tx1 "$1" | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g'
	printf '};\nconst size_t probe_image_size = sizeof(probe_image);\n'
} >"$2.tmp"
mv "$2.tmp" "$2"
