/* SPDX-License-Identifier: Apache-2.0 */
/* What the process has, counted: the same number before and after means that nothing was left. */
#ifndef TESTS_USAGE_H
#define TESTS_USAGE_H

#include <dirent.h>
#include <stddef.h>

/* How many names a folder has, "." and ".." among them. */
static inline unsigned int entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* How many descriptors the process has, and a few that are always there. */
static inline unsigned int descriptors(void)
{
	return entries("/proc/self/fd");
}

#endif
