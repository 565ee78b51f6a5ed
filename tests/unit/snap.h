/* SPDX-License-Identifier: Apache-2.0 */
/* A state file on a bench: what a device saves, the same with something changed, and reading it. */
#ifndef TESTS_UNIT_SNAP_H
#define TESTS_UNIT_SNAP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "state.h"

#define SNAP_ID STATE_ID('t', 'e', 's', 't')

struct snap {
	struct state_writer w;
	struct state_reader r;
	struct state_in in;
	struct error err;
};

/* One section is open from now on. */
static inline struct state_writer *snap_begin(struct snap *s)
{
	memset(s, 0, sizeof(*s));
	state_writer_init(&s->w);
	state_begin(&s->w, SNAP_ID, 0, 1);
	return &s->w;
}

/* All that was to be written is; it can be read. */
static inline struct state_reader *snap_open(struct snap *s)
{
	assert_int_equal(state_seal(&s->w), 0);
	assert_int_equal(state_open(&s->r, s->w.data, s->w.len, &s->err), 0);
	return &s->r;
}

/* The one section is complete, and is to be read. */
static inline struct state_in *snap_in(struct snap *s)
{
	assert_int_equal(state_end(&s->w), 0);
	snap_open(s);
	assert_int_equal(state_find(&s->r, SNAP_ID, 0, 1, &s->in, &s->err), 0);
	return &s->in;
}

static inline void snap_free(struct snap *s)
{
	state_close(&s->r);
	state_writer_fini(&s->w);
}

/* After snap_in() or snap_open(). */
static inline void assert_same_snap(const struct snap *a, const struct snap *b)
{
	assert_int_equal(a->w.len, b->w.len);
	assert_memory_equal(a->w.data, b->w.data, a->w.len);
}

/* Begins @s with what the section of @of has, but that @len bytes at @at are @value. */
static inline struct state_in *snap_with(struct snap *s, const struct snap *of, size_t at,
					 uint64_t value, size_t len)
{
	const struct state_section *section = &of->r.sections[0];
	uint8_t *bytes = malloc(section->len);

	assert_non_null(bytes);
	memcpy(bytes, section->payload, section->len);
	assert_true(at + len <= section->len);
	memcpy(bytes + at, &value, len);
	state_put_bytes(snap_begin(s), bytes, section->len);
	free(bytes);
	return snap_in(s);
}

/*
 * Tries what an enemy may write: each byte of each section of @of, changed in three ways, and each
 * section cut off. @load reads all of it into something new, and returns 0, or an error with a
 * sentence.
 */
static inline void snap_attack(const struct snap *of,
			       int (*load)(struct state_reader *r, struct error *err))
{
	static const uint8_t flips[] = {0xff, 0x01, 0x80};

	for (uint32_t which = 0; which < of->r.count; which++) {
		uint64_t len = of->r.sections[which].len;

		for (uint64_t at = 0; at < 4 * len; at++) {
			struct snap s = {.err.text = ""};
			int ret;

			state_writer_init(&s.w);
			for (uint32_t i = 0; i < of->r.count; i++) {
				const struct state_section *from = &of->r.sections[i];
				uint64_t keep =
					i == which && at >= 3 * len ? at - 3 * len : from->len;
				size_t payload;

				state_begin(&s.w, from->id, from->instance, from->version);
				payload = s.w.len;
				state_put_bytes(&s.w, from->payload, keep);
				if (i == which && at < 3 * len)
					s.w.data[payload + at / 3] ^= flips[at % 3];
				assert_int_equal(state_end(&s.w), 0);
			}
			snap_open(&s);
			ret = load(&s.r, &s.err);
			assert_true(ret <= 0);
			assert_int_equal(ret == 0, s.err.text[0] == '\0');
			/* A section that is cut off is never taken. */
			if (at >= 3 * len)
				assert_true(ret < 0);
			snap_free(&s);
		}
	}
}

/* The sections of a virtio device, which is what a test with devices/virtio/virtio.h can save. */
#ifdef DEVICES_VIRTIO_VIRTIO_H
static inline void snap_device(struct snap *s, struct virtio_device *dev)
{
	memset(s, 0, sizeof(*s));
	state_writer_init(&s->w);
	assert_int_equal(virtio_save(dev, 0, &s->w, &s->err), 0);
	snap_open(s);
}

/* @dev was just made: it takes what @s has, is then the same, and goes on. */
static inline void snap_restore(struct snap *s, struct virtio_device *dev)
{
	struct snap again;

	assert_int_equal(virtio_load(dev, 0, &s->r, &s->err), 0);
	snap_device(&again, dev);
	assert_same_snap(s, &again);
	snap_free(&again);
	assert_int_equal(virtio_restored(dev, &s->err), 0);
}

/* Loads the sections of @s, with @len bytes at @at of the device's own changed to @value. */
static inline int snap_load_with(struct snap *t, const struct snap *s, struct virtio_device *dev,
				 size_t at, uint64_t value, size_t len)
{
	memset(t, 0, sizeof(*t));
	state_writer_init(&t->w);
	for (uint32_t i = 0; i < s->r.count; i++) {
		const struct state_section *from = &s->r.sections[i];
		size_t payload;

		state_begin(&t->w, from->id, from->instance, from->version);
		payload = t->w.len;
		state_put_bytes(&t->w, from->payload, from->len);
		if (from->id == dev->ops->state_id) {
			assert_true(at + len <= from->len);
			memcpy(t->w.data + payload + at, &value, len);
		}
		assert_int_equal(state_end(&t->w), 0);
	}
	snap_open(t);
	return virtio_load(dev, 0, &t->r, &t->err);
}
#endif

#endif
