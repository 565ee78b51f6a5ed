/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The price of a sleep on this host, as it was last measured, kept from one command to the next.
 * The last VMs write it, and the next one makes its guest's polling window of it. Beside it stands
 * the better irqchip, once that was measured. It counts for one boot and one kind of machine.
 *
 * The file is catnap/sleep-price in $XDG_CACHE_HOME. Without that it is in /var/cache for root, and
 * in $HOME/.cache for others, who read root's where that has none. A file that cannot be read or
 * written is no error: then the price is not known.
 *
 * It is read as if an enemy had written it. It must be a regular file of this user's or of root's,
 * that nobody else may write; one record of fixed length, with this machine's key and a checksum;
 * numbers within bounds. Anything else counts as nothing.
 *
 * A record is written by one system call, over the one before: the process that ran a guest may
 * rename nothing any more. A reader at the same time, or after a crash, gets the old one, the new
 * one, or one whose checksum is wrong.
 *
 * The main thread's.
 */
#ifndef CLI_PRICE_FILE_H
#define CLI_PRICE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/guest_window.h"

#define PRICE_KEY    320 /* bytes, with its NUL */
#define PRICE_RECORD 512

/* Bounds of a price in the file, the same as those of the engine's own measuring. */
#define PRICE_LEAST_NS 500
#define PRICE_MOST_NS  5000000

struct price_file {
	int fd; /* to be written; -1: none */
	char key[PRICE_KEY];
	struct host_price known;
};

/* Begins: f->known is what is known of this host, all 0 where nothing is. */
void price_file_read(struct price_file *f);

/* Opens the file for price_file_write(), after that, and makes it and its folder if need be. Where
 * there is no place for it, nothing will be written. */
void price_file_open(struct price_file *f);

/* Writes @price if the file was opened. The system calls are those that the sandbox leaves the main
 * thread. */
void price_file_write(struct price_file *f, struct host_price price);
void price_file_close(struct price_file *f);

/* -- its parts, for the tests -- */

/* Names this boot and this kind of machine: lines, each with its newline. False: cannot be told. */
bool price_key(char key[PRICE_KEY]);
/* Makes the record of @price. */
void price_format(char record[PRICE_RECORD], const char *key, struct host_price price);
/* Returns what the record of @len bytes says; all 0 if it is none, or not of @key. */
struct host_price price_parse(const char *record, size_t len, const char *key);

#endif
