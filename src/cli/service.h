/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service manager that has started this process, if one has: it is told how far the process is
 * (sd_notify(3)), and its journal takes messages with their priority. Both are one datagram each, by
 * documented protocols, so that a static program has them, too: there is no static libsystemd.
 *
 * The descriptors do not block, and need no path any more once they are made: for before the process
 * is closed in. Without a service manager there are none, and to tell nobody is no error.
 */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

#include <stddef.h>

/* Connects to whom NOTIFY_SOCKET names, which no program that is started later is told of. Returns
 * a descriptor for the caller to close; -1: nobody, or it cannot be reached. Before there are
 * threads. */
int service_open(void);
/* Tells lines of NAME=VALUE; @fd -1: nobody. Any thread. */
void service_tell(int fd, const char *lines);

/* Opens the journal, if standard error leads there (JOURNAL_STREAM). Returns a descriptor for the
 * caller to close; -1: not. */
int service_open_journal(void);
/* Puts an entry of the journal's protocol into @to. Of a @text that is too long the end is missing.
 * @priority: syslog(3)'s. Returns the length of the entry. */
size_t service_entry(char *to, size_t size, int priority, const char *text);

#endif
