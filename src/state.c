/* SPDX-License-Identifier: Apache-2.0 */
/* See state.h, and docs/snapshot-format.md for the bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "x86");

static const char magic[8] = {'c', 'a', 't', 'n', 'a', 'p', 'S', 'T'};

/* The file begins with this. */
struct file_header {
	char magic[8];
	uint32_t format;
	uint32_t count;	 /* of sections */
	uint64_t length; /* of the file */
	uint32_t reserved;
	uint32_t crc; /* of this header before it */
};

_Static_assert(sizeof(struct file_header) == 32, "as the file has it");
_Static_assert(offsetof(struct file_header, format) == 8, "as the file has it");
_Static_assert(offsetof(struct file_header, length) == 16, "as the file has it");
_Static_assert(offsetof(struct file_header, crc) == 28, "as the file has it");

/* Each section begins with this; its payload follows. */
struct section_header {
	uint32_t id, instance;
	uint16_t version, reserved;
	uint32_t crc;	 /* of this header with 0 here, and of the payload */
	uint64_t length; /* of the payload */
};

_Static_assert(sizeof(struct section_header) == 24, "as the file has it");
_Static_assert(offsetof(struct section_header, version) == 8, "as the file has it");
_Static_assert(offsetof(struct section_header, crc) == 12, "as the file has it");
_Static_assert(offsetof(struct section_header, length) == 16, "as the file has it");

/* Of the polynomial 0x82f63b78 (reflected), for half a byte. */
static const uint32_t crc_of[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

/* Computes it with the processor's instruction: a snapshot of some GiB has a checksum, too. */
__attribute__((target("sse4.2"))) static uint32_t crc_fast(uint32_t crc, const uint8_t *at,
							   size_t len)
{
	uint64_t wide = crc;

	for (; len >= sizeof(uint64_t); at += sizeof(uint64_t), len -= sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len; at++, len--)
		crc = __builtin_ia32_crc32qi(crc, *at);
	return crc;
}

static uint32_t crc_slow(uint32_t crc, const uint8_t *at, size_t len)
{
	for (; len; at++, len--) {
		crc ^= *at;
		crc = crc >> 4 ^ crc_of[crc & 15];
		crc = crc >> 4 ^ crc_of[crc & 15];
	}
	return crc;
}

uint32_t state_crc(uint32_t crc, const void *data, size_t len)
{
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_fast(~crc, data, len);
	return ~crc_slow(~crc, data, len);
}

/* ---- writing ---- */

/* Adds @len bytes, and returns where they are; NULL: memory has run out. */
static uint8_t *grow(struct state_writer *w, size_t len)
{
	uint8_t *more;

	if (w->error)
		return NULL;
	if (len > w->room - w->len) {
		size_t room = w->room ? w->room : 4096;

		while (room - w->len < len) {
			if (room > SIZE_MAX / 2) {
				w->error = -ENOMEM;
				return NULL;
			}
			room *= 2;
		}
		more = realloc(w->data, room);
		if (!more) {
			w->error = -ENOMEM;
			return NULL;
		}
		w->data = more;
		w->room = room;
	}
	more = w->data + w->len;
	w->len += len;
	return more;
}

void state_writer_init(struct state_writer *w)
{
	uint8_t *header;

	*w = (struct state_writer){0};
	header = grow(w, sizeof(struct file_header));
	if (header)
		memset(header, 0, sizeof(struct file_header));
}

void state_writer_fini(struct state_writer *w)
{
	free(w->data);
	*w = (struct state_writer){0};
}

void state_put_bytes(struct state_writer *w, const void *from, size_t len)
{
	uint8_t *to = len ? grow(w, len) : NULL;

	if (to)
		memcpy(to, from, len);
}

void state_put_u8(struct state_writer *w, uint8_t value)
{
	state_put_bytes(w, &value, sizeof(value));
}

void state_put_u16(struct state_writer *w, uint16_t value)
{
	state_put_bytes(w, &value, sizeof(value));
}

void state_put_u32(struct state_writer *w, uint32_t value)
{
	state_put_bytes(w, &value, sizeof(value));
}

void state_put_u64(struct state_writer *w, uint64_t value)
{
	state_put_bytes(w, &value, sizeof(value));
}

void state_put_bool(struct state_writer *w, bool value)
{
	state_put_u8(w, value ? 1 : 0);
}

void state_put_text(struct state_writer *w, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	state_put_u32(w, (uint32_t)len);
	state_put_bytes(w, text, len);
}

void state_begin(struct state_writer *w, uint32_t id, uint32_t instance, uint16_t version)
{
	struct section_header header = {.id = id, .instance = instance, .version = version};

	w->section = w->len;
	w->count++;
	state_put_bytes(w, &header, sizeof(header));
}

int state_end(struct state_writer *w)
{
	struct section_header header;
	uint8_t *at;

	if (w->error)
		return w->error;
	at = w->data + w->section;
	memcpy(&header, at, sizeof(header));
	header.length = w->len - w->section - sizeof(header);
	header.crc = state_crc(state_crc(0, &header, sizeof(header)), at + sizeof(header),
			       (size_t)header.length);
	memcpy(at, &header, sizeof(header));
	w->section = 0;
	return 0;
}

int state_seal(struct state_writer *w)
{
	struct file_header header = {.format = STATE_FORMAT, .count = w->count, .length = w->len};

	if (w->error)
		return w->error;
	memcpy(header.magic, magic, sizeof(magic));
	header.crc = state_crc(0, &header, offsetof(struct file_header, crc));
	memcpy(w->data, &header, sizeof(header));
	return 0;
}

/* ---- reading ---- */

/* A section's name in a sentence. */
struct name {
	char text[40];
};

static struct name name_of(uint32_t id, uint32_t instance)
{
	struct name name;
	char c[4];

	for (unsigned int i = 0; i < 4; i++) {
		c[i] = (char)(id >> 8 * i & 0x7f);
		if (c[i] <= ' ' || c[i] > '~')
			c[i] = '?';
	}
	snprintf(name.text, sizeof(name.text), "section %.4s %u", c, instance);
	return name;
}

static int compare(const void *a, const void *b)
{
	const struct state_section *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	if (x->instance != y->instance)
		return x->instance < y->instance ? -1 : 1;
	return 0;
}

/* Checks the header of the file. */
static int check_header(struct file_header *header, const uint8_t *data, size_t len,
			struct error *err)
{
	if (len < sizeof(*header))
		return error_fail(err, -EINVAL, "is no state of a snapshot: it is too short");
	memcpy(header, data, sizeof(*header));
	if (memcmp(header->magic, magic, sizeof(magic)) != 0)
		return error_fail(err, -EINVAL, "is no state of a snapshot");
	if (header->format != STATE_FORMAT)
		return error_fail(err, -ENOTSUP, "is of format %u, and this catnap reads format %d",
				  header->format, STATE_FORMAT);
	if (header->crc != state_crc(0, header, offsetof(struct file_header, crc)))
		return error_fail(err, -EINVAL, "is damaged: its header's checksum is wrong");
	if (header->length != len)
		return error_fail(err, -EINVAL, "has %zu bytes, and %llu were written", len,
				  (unsigned long long)header->length);
	if (header->reserved ||
	    header->count > (len - sizeof(*header)) / sizeof(struct section_header))
		return error_fail(err, -EINVAL, "is damaged: its header is wrong");
	return 0;
}

/* Checks one section at @at of @left bytes. Returns its length with its header, or a negative errno
 * value. */
static int64_t check_section(struct state_section *s, const uint8_t *at, size_t left,
			     struct error *err)
{
	struct section_header header;
	uint32_t crc;

	if (left < sizeof(header))
		return error_fail(err, -EINVAL, "is damaged: it ends within a section's header");
	memcpy(&header, at, sizeof(header));
	if (header.length > left - sizeof(header))
		return error_fail(err, -EINVAL, "is damaged: %s is longer than the file",
				  name_of(header.id, header.instance).text);
	crc = header.crc;
	header.crc = 0;
	if (crc != state_crc(state_crc(0, &header, sizeof(header)), at + sizeof(header),
			     (size_t)header.length))
		return error_fail(err, -EINVAL, "is damaged: the checksum of %s is wrong",
				  name_of(header.id, header.instance).text);
	if (header.reserved)
		return error_fail(err, -ENOTSUP, "has %s with something that is not known here",
				  name_of(header.id, header.instance).text);
	*s = (struct state_section){.id = header.id,
				    .instance = header.instance,
				    .version = header.version,
				    .payload = at + sizeof(header),
				    .len = header.length};
	return (int64_t)(sizeof(header) + header.length);
}

int state_open(struct state_reader *r, const void *data, size_t len, struct error *err)
{
	const uint8_t *at = data;
	struct file_header header = {.count = 0};
	size_t left;
	int ret;

	*r = (struct state_reader){0};
	ret = check_header(&header, at, len, err);
	if (ret < 0)
		return ret;
	r->sections = calloc(header.count ? header.count : 1, sizeof(*r->sections));
	if (!r->sections)
		return error_errno(err, -ENOMEM, "cannot be read");
	at += sizeof(header);
	left = len - sizeof(header);
	for (; r->count < header.count; r->count++) {
		int64_t size = check_section(&r->sections[r->count], at, left, err);

		if (size < 0)
			return (int)size;
		at += size;
		left -= (size_t)size;
	}
	if (left)
		return error_fail(err, -EINVAL, "is damaged: something follows its sections");
	qsort(r->sections, r->count, sizeof(*r->sections), compare);
	for (uint32_t i = 1; i < r->count; i++)
		if (compare(&r->sections[i - 1], &r->sections[i]) == 0)
			return error_fail(err, -EINVAL, "has %s twice",
					  name_of(r->sections[i].id, r->sections[i].instance).text);
	return 0;
}

void state_close(struct state_reader *r)
{
	free(r->sections);
	*r = (struct state_reader){0};
}

static struct state_section *look_up(const struct state_reader *r, uint32_t id, uint32_t instance)
{
	struct state_section key = {.id = id, .instance = instance};

	if (!r->count)
		return NULL;
	return bsearch(&key, r->sections, r->count, sizeof(key), compare);
}

bool state_has(const struct state_reader *r, uint32_t id, uint32_t instance)
{
	return look_up(r, id, instance);
}

uint32_t state_instances(const struct state_reader *r, uint32_t id)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->count; i++)
		n += r->sections[i].id == id;
	return n;
}

int state_find(struct state_reader *r, uint32_t id, uint32_t instance, uint16_t max_version,
	       struct state_in *in, struct error *err)
{
	struct state_section *s = look_up(r, id, instance);

	*in = (struct state_in){.id = id, .instance = instance};
	if (!s)
		return error_fail(err, -EINVAL, "has no %s", name_of(id, instance).text);
	if (!s->version || s->version > max_version)
		return error_fail(err, -ENOTSUP,
				  "has %s of version %u, and this catnap reads up to %u",
				  name_of(id, instance).text, s->version, max_version);
	s->found = true;
	in->version = s->version;
	in->at = s->payload;
	in->end = s->payload + s->len;
	return 0;
}

int state_all_found(const struct state_reader *r, struct error *err)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (!r->sections[i].found)
			return error_fail(err, -ENOTSUP, "has %s, which is not known here",
					  name_of(r->sections[i].id, r->sections[i].instance).text);
	return 0;
}

const uint8_t *state_get_view(struct state_in *in, size_t len)
{
	const uint8_t *at = in->at;

	if (in->short_of || len > state_left(in)) {
		in->short_of = true;
		return NULL;
	}
	if (len)
		in->at += len;
	return at;
}

void state_get_bytes(struct state_in *in, void *to, size_t len)
{
	const uint8_t *from = state_get_view(in, len);

	if (!len)
		return;
	if (from)
		memcpy(to, from, len);
	else
		memset(to, 0, len);
}

uint8_t state_get_u8(struct state_in *in)
{
	uint8_t value;

	state_get_bytes(in, &value, sizeof(value));
	return value;
}

uint16_t state_get_u16(struct state_in *in)
{
	uint16_t value;

	state_get_bytes(in, &value, sizeof(value));
	return value;
}

uint32_t state_get_u32(struct state_in *in)
{
	uint32_t value;

	state_get_bytes(in, &value, sizeof(value));
	return value;
}

uint64_t state_get_u64(struct state_in *in)
{
	uint64_t value;

	state_get_bytes(in, &value, sizeof(value));
	return value;
}

bool state_get_bool(struct state_in *in)
{
	uint8_t value = state_get_u8(in);

	state_check(in, value <= 1, "a value that is yes or no");
	return value == 1;
}

void state_get_text(struct state_in *in, char *to, size_t room)
{
	uint32_t len = state_get_u32(in);
	const uint8_t *from;

	to[0] = '\0';
	if (!state_check(in, len < room, "the length of a text"))
		return;
	from = state_get_view(in, len);
	if (!from || !state_check(in, !memchr(from, 0, len), "a text"))
		return;
	memcpy(to, from, len);
	to[len] = '\0';
}

bool state_check(struct state_in *in, bool right, const char *what)
{
	if (!right && state_good(in))
		in->wrong = what;
	return right;
}

int state_finish(struct state_in *in, struct error *err)
{
	if (in->wrong)
		return state_refuse(in, err, -EINVAL, "%s cannot be as it says", in->wrong);
	if (in->short_of)
		return state_refuse(in, err, -EINVAL, "it is too short");
	if (state_left(in))
		return state_refuse(in, err, -EINVAL, "it has %zu bytes too many", state_left(in));
	return 0;
}

int state_refuse(const struct state_in *in, struct error *err, int ret, const char *fmt, ...)
{
	struct error why;
	va_list ap;

	va_start(ap, fmt);
	error_vset(&why, fmt, ap);
	va_end(ap);
	return error_fail(err, ret, "%s: %s", name_of(in->id, in->instance).text, why.text);
}
