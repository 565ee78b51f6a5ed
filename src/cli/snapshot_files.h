/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots as files: made so that there is a whole one at every moment, and opened. A folder has
 * the state as "state", and memory files under names of their own, which the state tells. A memory
 * file is written under its name first; the snapshot is the new one from the moment at which the
 * state takes its place.
 *
 * What makes them calls no more of the system than the sandbox's main thread may
 * (CATNAP_SANDBOX_ALLOW_SNAPSHOTS).
 */
#ifndef CLI_SNAPSHOT_FILES_H
#define CLI_SNAPSHOT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <catnap/snapshot.h>

#define SNAPSHOT_STATE "state" /* in a folder */
/* What a guest touches right after it went on, if that was recorded; in a folder, too. */
#define SNAPSHOT_WORKING_SET "working-set"
#define SNAPSHOT_WHY	     2048 /* bytes of a sentence */

/* Makes one of @vm, which stands in a pause, in the folder @dir, which is made if it is not there. 0,
 * or -errno with a sentence in @why, of SNAPSHOT_WHY bytes; then what was there is as before. */
int snapshot_make(struct catnap_vm *vm, const char *dir, bool diff, char *why);
/* Does the same in two files of any names. */
int snapshot_make_files(struct catnap_vm *vm, const char *state, const char *memory, bool diff,
			char *why);

/* One that is open to be read. */
struct snapshot_files {
	struct catnap_snapshot *snapshot;
	int dir; /* -1: none */
	int32_t *memory;
	uint32_t count;
	int working_set; /* -1: none */
};

/* Opens that of the folder @dir. snapshot_close() may follow in any case. 0, or -errno with a
 * sentence. */
int snapshot_open(struct snapshot_files *s, const char *dir, char *why);
/* Opens the state alone, without its memory files. */
int snapshot_open_state(struct snapshot_files *s, const char *dir, char *why);
/* Opens two files of any names; there may be one memory file only. @memory NULL: the state
 * alone. */
int snapshot_open_files(struct snapshot_files *s, const char *state, const char *memory, char *why);
/* Opens the working set of a folder's snapshot, if it has one, and checks it. One of another snapshot
 * is none, and sets *@stale. 0, or -errno with a sentence. */
int snapshot_open_working_set(struct snapshot_files *s, const char *dir, bool *stale, char *why);
void snapshot_close(struct snapshot_files *s);
/* Puts one full memory file in the place of all that the snapshot in the folder @dir has. 0, or -errno
 * with a sentence. */
int snapshot_merge(const char *dir, char *why);

#endif
