/* SPDX-License-Identifier: Apache-2.0 */
/* A place in the sources, by which a line of the log tells where it comes from. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

struct place {
	const char *file; /* as the compiler was given it; see place_file() */
	unsigned int line;
};

/* The place at which it stands. */
#define PLACE_HERE ((struct place){__FILE__, __LINE__})

/* Returns the name of @p's file from the top of the tree on, "src/cli/serve/loop.c", wherever it was
 * built. */
const char *place_file(const struct place *p);

#endif
