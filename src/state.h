/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container of a snapshot's state: a header, and sections. A section has an id of four
 * characters, an instance (which of several), a version of its own, and a checksum. Its payload is
 * written and read by the module whose state it is. docs/snapshot-format.md has the bytes.
 *
 * A writer is a buffer that grows. It notes that memory has run out, and goes on; state_seal() tells.
 *
 * A reader takes the file for one that an enemy wrote. state_open() looks at every length and every
 * checksum before anything is found in it. Bytes behind a section's end are read as 0, and that is
 * noted: state_finish() tells. So is what state_check() finds wrong. A module reads all of its
 * section into variables, checks them, calls state_finish(), and then uses them.
 *
 * Open to every room of the library. It knows nothing but libc. One thread at a time.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define STATE_FORMAT 1 /* of the container */

/* A section's id: STATE_ID('l', 'a', 'p', 'c'). The characters are printable. */
#define STATE_ID(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* ---- writing ---- */

struct state_writer {
	uint8_t *data; /* owned */
	size_t len, room;
	size_t section; /* where the open section's header begins; 0: none is open */
	uint32_t count; /* of sections */
	int error;	/* 0 or -ENOMEM; sticky */
};

void state_writer_init(struct state_writer *w);
/* Frees what @w has. */
void state_writer_fini(struct state_writer *w);
/* Begins a section. None is open. There is one of each @id and @instance. @version: of the payload's
 * layout, from 1. */
void state_begin(struct state_writer *w, uint32_t id, uint32_t instance, uint16_t version);
void state_put_u8(struct state_writer *w, uint8_t value);
void state_put_u16(struct state_writer *w, uint16_t value);
void state_put_u32(struct state_writer *w, uint32_t value);
void state_put_u64(struct state_writer *w, uint64_t value);
void state_put_bool(struct state_writer *w, bool value);
void state_put_bytes(struct state_writer *w, const void *from, size_t len);
/* Writes a text with its length (u32) in front. NULL is written as "". */
void state_put_text(struct state_writer *w, const char *text);
/* Ends the section. Returns 0, or -ENOMEM if memory has run out since state_writer_init(). */
int state_end(struct state_writer *w);
/* Completes the whole: data and len are a state file then. Returns 0, or -ENOMEM. */
int state_seal(struct state_writer *w);

/* ---- reading ---- */

struct state_section {
	uint32_t id, instance;
	uint16_t version;
	bool found; /* state_find() has given it out */
	const uint8_t *payload;
	uint64_t len;
};

struct state_reader {
	struct state_section *sections; /* owned; in the order of id and instance */
	uint32_t count;
};

/* A section that is being read. */
struct state_in {
	uint32_t id, instance;
	uint16_t version;
	bool short_of;	   /* more was read than there is */
	const char *wrong; /* what state_check() found first; NULL: nothing */
	const uint8_t *at, *end;
};

/*
 * Opens the state file of @len bytes at @data. Those stay where they are until state_close(), and
 * do not change. @r is written in any case, and may be closed in any case.
 * Errors, with a sentence:
 *   -EINVAL   no state file, or one that is cut off, damaged, or made wrongly
 *   -ENOTSUP  a state file of another format
 *   -ENOMEM
 */
int state_open(struct state_reader *r, const void *data, size_t len, struct error *err);
void state_close(struct state_reader *r);
/* Returns whether there is such a section. */
bool state_has(const struct state_reader *r, uint32_t id, uint32_t instance);
/* Returns how many sections have this @id. */
uint32_t state_instances(const struct state_reader *r, uint32_t id);
/*
 * Finds a section, for one reader of it. @max_version: the newest layout that the caller reads; @in
 * says which it is.
 * Errors, with a sentence:
 *   -EINVAL   there is no such section
 *   -ENOTSUP  its version is newer, or 0
 */
int state_find(struct state_reader *r, uint32_t id, uint32_t instance, uint16_t max_version,
	       struct state_in *in, struct error *err);
/* Checks that each section has been found: there is none that nobody knows. Returns 0, or -ENOTSUP
 * with a sentence. */
int state_all_found(const struct state_reader *r, struct error *err);

uint8_t state_get_u8(struct state_in *in);
uint16_t state_get_u16(struct state_in *in);
uint32_t state_get_u32(struct state_in *in);
uint64_t state_get_u64(struct state_in *in);
/* Reads a byte; one that is neither 0 nor 1 is wrong. */
bool state_get_bool(struct state_in *in);
/* Zeroes, if there are not as many. */
void state_get_bytes(struct state_in *in, void *to, size_t len);
/* Reads a text of less than @room bytes, which has no zero byte within; "" if it is wrong. */
void state_get_text(struct state_in *in, char *to, size_t room);
/* Returns how many bytes of the section are left: before memory is taken for a count of elements. */
static inline size_t state_left(const struct state_in *in)
{
	return (size_t)(in->end - in->at);
}
/* Returns the next @len bytes themselves, which are read by that; NULL, if there are not as
 * many. */
const uint8_t *state_get_view(struct state_in *in, size_t len);
/* Notes that @what is wrong, unless @right or something else was wrong before. @what: a noun phrase
 * with a lasting text: "the timer's mode". Returns @right. */
bool state_check(struct state_in *in, bool right, const char *what);
/* Returns whether nothing has been wrong so far. */
static inline bool state_good(const struct state_in *in)
{
	return !in->short_of && !in->wrong;
}
/* Ends the reading. Returns 0, or -EINVAL with a sentence: something was wrong, or the section is
 * too short, or it is longer than what has been read. */
int state_finish(struct state_in *in, struct error *err);
/* Says why the section cannot be used, behind its name. Returns @ret. */
int state_refuse(const struct state_in *in, struct error *err, int ret, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Returns the CRC-32C (Castagnoli) of @len bytes, going on from @crc; 0 at first. */
uint32_t state_crc(uint32_t crc, const void *data, size_t len);

#endif
