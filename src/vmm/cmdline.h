/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's command line (Linux Documentation/admin-guide/kernel-parameters.rst): what comes behind
 * "--" is for init. So what is added has to be put before it.
 */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

/* Returns @given with @more among its parameters, behind the others, in memory that the caller
 * frees; NULL: no memory. */
char *cmdline_add(const char *given, const char *more);

#endif
