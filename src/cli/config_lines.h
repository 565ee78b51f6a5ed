/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the parts of a JSON document stand. The parser that we use keeps neither lines nor a
 * member's first value when it is given twice, so this looks at the text once more.
 */
#ifndef CLI_CONFIG_LINES_H
#define CLI_CONFIG_LINES_H

#include <stddef.h>

/* So many members and elements may be in a document. */
#define CONFIG_PARTS 4096

/* A member of an object, or an element of an array. */
struct config_part {
	unsigned int line, parent; /* from 1; the index of what it is in, plus 1; 0: the document */
	const char *name;	   /* between the quotes, in the text; NULL: an element */
	size_t len;
	const char *value, *end; /* where its value begins, and what follows it */
};

struct config_parts {
	/* In the order of the text, what holds others before those. */
	struct config_part *part;
	unsigned int n;
	unsigned int line; /* where it ended */
};

/**
 * Finds the parts of @text, which a parser has accepted. Returns 0 or a negative errno value; the
 * caller frees parts->part in any case.
 *	-ENOMEM	 no memory
 *	-E2BIG	 there are more than CONFIG_PARTS
 *	-EEXIST	 the last part has the name of an earlier one beside it
 *	-EILSEQ	 a name is not in double quotes, or has an escape, or half a character is escaped:
 *		 what the parser lets pass
 */
int config_parts_find(struct config_parts *parts, const char *text);

#endif
