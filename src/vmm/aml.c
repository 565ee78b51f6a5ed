/* SPDX-License-Identifier: Apache-2.0 */
/* The AML encoder: ACPI 6.5, 20.2 "AML Grammar Definition", and 6.4 for resource descriptors. */
#include <assert.h>
#include <string.h>

#include "vmm/aml.h"

/* 20.3, "AML Byte Stream Byte Values" */
#define OP_ZERO	       0x00
#define OP_ONE	       0x01
#define OP_NAME	       0x08
#define OP_BYTE	       0x0a
#define OP_WORD	       0x0b
#define OP_DWORD       0x0c
#define OP_STRING      0x0d
#define OP_QWORD       0x0e
#define OP_SCOPE       0x10
#define OP_BUFFER      0x11
#define OP_PACKAGE     0x12
#define OP_METHOD      0x14
#define OP_DUAL_NAME   0x2e
#define OP_MULTI_NAME  0x2f
#define OP_EXT	       0x5b
#define OP_LOCAL0      0x60
#define OP_ARG0	       0x68
#define OP_STORE       0x70
#define OP_NOTIFY      0x86
#define OP_AND	       0x7b
#define OP_OR	       0x7d
#define OP_DWORD_FIELD 0x8a
#define OP_EQUAL       0x93
#define OP_IF	       0xa0
#define OP_ELSE	       0xa1
#define OP_RETURN      0xa4
#define EXT_REGION     0x80
#define EXT_FIELD      0x81
#define EXT_DEVICE     0x82
#define REGION_IO      0x01
#define FIELD_BYTES    0x01 /* ByteAcc, NoLock, Preserve */
#define FIELD_DWORDS   0x03 /* DWordAcc, the same */
#define METHOD_SERIAL  0x08
#define SEGMENT	       4

static void put(struct aml *a, const void *data, size_t len)
{
	if (len > a->size - a->len) {
		a->failed = true;
		return;
	}
	memcpy(a->bytes + a->len, data, len);
	a->len += len;
}

static void put8(struct aml *a, uint8_t value)
{
	put(a, &value, 1);
}

static void open_term(struct aml *a)
{
	if (a->depth == AML_DEPTH) {
		a->failed = true;
		return;
	}
	a->open[a->depth++] = a->len;
}

void aml_init(struct aml *a, void *buffer, size_t size)
{
	*a = (struct aml){.bytes = buffer, .size = size};
}

/* Encodes a package's length. 20.2.4: it counts itself; above 63, the first byte has the number of
 * further bytes and a nibble. */
static unsigned int package_length(uint8_t out[4], size_t body)
{
	unsigned int extra = 0;
	size_t len = body + 1;

	if (len > 0x3f)
		for (extra = 1, len++; len >> (4 + 8 * extra); extra++)
			len++;
	if (!extra) {
		out[0] = (uint8_t)len;
		return 1;
	}
	out[0] = (uint8_t)(extra << 6 | (len & 0xf));
	for (unsigned int i = 1; i <= extra; i++)
		out[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	return extra + 1;
}

void aml_close(struct aml *a)
{
	uint8_t length[4];
	unsigned int n;
	size_t at, body;

	assert(a->depth || a->failed);
	if (!a->depth)
		return;
	at = a->open[--a->depth];
	body = a->len - at;
	if (body >= 1 << 20 || a->size - a->len < sizeof(length)) {
		a->failed = true;
		return;
	}
	n = package_length(length, body);
	memmove(a->bytes + at + n, a->bytes + at, body);
	memcpy(a->bytes + at, length, n);
	a->len += n;
}

/* Writes a path. 20.2.2: [\] segment, or several of them with their count. Short names are padded
 * with _. */
void aml_path(struct aml *a, const char *path)
{
	unsigned int segments = 1;

	if (*path == '\\') {
		put8(a, '\\');
		path++;
	}
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (segments == 2)
		put8(a, OP_DUAL_NAME);
	if (segments > 2) {
		put8(a, OP_MULTI_NAME);
		put8(a, (uint8_t)segments);
	}
	for (; segments; segments--) {
		size_t n = strcspn(path, ".");
		char name[SEGMENT] = {'_', '_', '_', '_'};

		assert(n >= 1 && n <= SEGMENT);
		memcpy(name, path, n < SEGMENT ? n : SEGMENT);
		put(a, name, SEGMENT);
		path += n + (path[n] == '.');
	}
}

void aml_scope(struct aml *a, const char *path)
{
	put8(a, OP_SCOPE);
	open_term(a);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	put8(a, OP_EXT);
	put8(a, EXT_DEVICE);
	open_term(a);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned int args, bool serialized)
{
	put8(a, OP_METHOD);
	open_term(a);
	aml_path(a, name);
	put8(a, (uint8_t)(args | (serialized ? METHOD_SERIAL : 0)));
}

void aml_package(struct aml *a, uint8_t elements)
{
	put8(a, OP_PACKAGE);
	open_term(a);
	put8(a, elements);
}

void aml_if_arg_is(struct aml *a, unsigned int arg, uint64_t value)
{
	put8(a, OP_IF);
	open_term(a);
	put8(a, OP_EQUAL);
	aml_arg(a, arg);
	aml_integer(a, value);
}

static void put_buffer(struct aml *a, const void *bytes, size_t len)
{
	put8(a, OP_BUFFER);
	open_term(a);
	aml_integer(a, len);
	put(a, bytes, len);
	aml_close(a);
}

void aml_if_arg_is_buffer(struct aml *a, unsigned int arg, const void *bytes, size_t len)
{
	put8(a, OP_IF);
	open_term(a);
	put8(a, OP_EQUAL);
	aml_arg(a, arg);
	put_buffer(a, bytes, len);
}

void aml_if_path(struct aml *a, const char *path)
{
	put8(a, OP_IF);
	open_term(a);
	aml_path(a, path);
}

void aml_if_local_has(struct aml *a, uint64_t mask)
{
	put8(a, OP_IF);
	open_term(a);
	put8(a, OP_AND);
	put8(a, OP_LOCAL0);
	aml_integer(a, mask);
	put8(a, OP_ZERO); /* the result is kept nowhere */
}

void aml_else(struct aml *a)
{
	put8(a, OP_ELSE);
	open_term(a);
}

void aml_name(struct aml *a, const char *path)
{
	put8(a, OP_NAME);
	aml_path(a, path);
}

void aml_integer(struct aml *a, uint64_t value)
{
	static const uint8_t ops[] = {OP_BYTE, OP_WORD, OP_DWORD, OP_QWORD};
	unsigned int width = 0;

	if (value <= 1) {
		put8(a, value ? OP_ONE : OP_ZERO);
		return;
	}
	while (width < 3 && value >> (8u << width))
		width++;
	put8(a, ops[width]);
	put(a, &value, 1u << width); /* little-endian, as we are */
}

void aml_string(struct aml *a, const char *text)
{
	put8(a, OP_STRING);
	put(a, text, strlen(text) + 1);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Writes an EISAID (19.3.4): three letters of five bits and four digits, the whole with its bytes
 * swapped. */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t value = 0;

	assert(strlen(id) == 7);
	for (int i = 0; i < 3; i++)
		value = value << 5 | (uint32_t)(id[i] - '@');
	for (int i = 3; i < 7; i++)
		value = value << 4 | hex_digit(id[i]);
	value = __builtin_bswap32(value);
	put8(a, OP_DWORD);
	put(a, &value, 4);
}

void aml_arg(struct aml *a, unsigned int arg)
{
	put8(a, (uint8_t)(OP_ARG0 + arg));
}

void aml_notify(struct aml *a, const char *path, uint8_t value)
{
	put8(a, OP_NOTIFY);
	aml_path(a, path);
	aml_integer(a, value);
}

void aml_return(struct aml *a)
{
	put8(a, OP_RETURN);
}

void aml_store_arg(struct aml *a, unsigned int arg, const char *path)
{
	put8(a, OP_STORE);
	aml_arg(a, arg);
	aml_path(a, path);
}

void aml_store_integer(struct aml *a, uint64_t value, const char *path)
{
	put8(a, OP_STORE);
	aml_integer(a, value);
	aml_path(a, path);
}

void aml_load_local(struct aml *a, const char *path)
{
	put8(a, OP_STORE);
	aml_path(a, path);
	put8(a, OP_LOCAL0);
}

void aml_or(struct aml *a, const char *path, uint64_t value)
{
	put8(a, OP_OR);
	aml_path(a, path);
	aml_integer(a, value);
	aml_path(a, path);
}

void aml_dword_field(struct aml *a, unsigned int arg, uint8_t offset, const char *name)
{
	put8(a, OP_DWORD_FIELD);
	aml_arg(a, arg);
	aml_integer(a, offset);
	aml_path(a, name);
}

/* Writes an I/O region, and begins its fields, which are reached by @access. */
static void open_io_fields(struct aml *a, const char *region, uint16_t port, uint8_t len,
			   uint8_t access)
{
	put8(a, OP_EXT);
	put8(a, EXT_REGION);
	aml_path(a, region);
	put8(a, REGION_IO);
	aml_integer(a, port);
	aml_integer(a, len);
	put8(a, OP_EXT);
	put8(a, EXT_FIELD);
	open_term(a);
	aml_path(a, region);
	put8(a, access);
}

void aml_io_byte(struct aml *a, const char *region, const char *field, uint16_t port, uint8_t len)
{
	open_io_fields(a, region, port, len, FIELD_BYTES);
	aml_path(a, field);
	put8(a, 8); /* bits, as a PkgLength of one byte */
	aml_close(a);
}

void aml_io_dwords(struct aml *a, const char *region, uint16_t port, const char *const *fields,
		   unsigned int n)
{
	open_io_fields(a, region, port, (uint8_t)(n * sizeof(uint32_t)), FIELD_DWORDS);
	for (unsigned int i = 0; i < n; i++) {
		aml_path(a, fields[i]);
		put8(a, 32);
	}
	aml_close(a);
}

void aml_resource_template(struct aml *a, const struct aml_resources *r)
{
	static const uint8_t end_tag[2] = {0x79,
					   0x00}; /* 6.4.2.9; a checksum of 0 is always right */

	if (r->failed)
		a->failed = true;
	put8(a, OP_BUFFER);
	open_term(a);
	aml_integer(a, r->len + sizeof(end_tag));
	put(a, r->bytes, r->len);
	put(a, end_tag, sizeof(end_tag));
	aml_close(a);
}

static void add_resource(struct aml_resources *r, const void *data, size_t len)
{
	if (len > sizeof(r->bytes) - r->len) {
		r->failed = true;
		return;
	}
	memcpy(r->bytes + r->len, data, len);
	r->len += len;
}

void aml_res_io(struct aml_resources *r, uint16_t port, uint8_t len)
{
	/* 6.4.2.5: 16-bit decode, minimum and maximum, alignment, length */
	const uint8_t d[8] = {
		0x47, 1,  (uint8_t)port, (uint8_t)(port >> 8), (uint8_t)port, (uint8_t)(port >> 8),
		1,    len};

	add_resource(r, d, sizeof(d));
}

void aml_res_memory(struct aml_resources *r, uint32_t base, uint32_t size)
{
	/* 6.4.3.4: fixed, writable */
	uint8_t d[12] = {0x86, 9, 0, 1};

	memcpy(d + 4, &base, 4);
	memcpy(d + 8, &size, 4);
	add_resource(r, d, sizeof(d));
}

/* 6.4.3.5, table 6.50: address spaces; a producer whose minimum and maximum are fixed */
#define SPACE_MEMORY 0
#define SPACE_BUSES  2
#define SPACE_FIXED  0x0c

void aml_res_memory_window(struct aml_resources *r, uint32_t base, uint32_t size)
{
	/* 6.4.3.5.2: writable, not cacheable; granularity, minimum, maximum, offset, length */
	uint8_t d[26] = {0x87, 23, 0, SPACE_MEMORY, SPACE_FIXED, 1};
	const uint32_t words[5] = {0, base, base + (size - 1), 0, size};

	memcpy(d + 6, words, sizeof(words));
	add_resource(r, d, sizeof(d));
}

void aml_res_bus_numbers(struct aml_resources *r, uint16_t first, uint16_t last)
{
	/* 6.4.3.5.3 */
	uint8_t d[16] = {0x88, 13, 0, SPACE_BUSES, SPACE_FIXED, 0};
	const uint16_t words[5] = {0, first, last, 0, (uint16_t)(last - first + 1)};

	memcpy(d + 6, words, sizeof(words));
	add_resource(r, d, sizeof(d));
}

void aml_res_interrupt(struct aml_resources *r, uint32_t gsi, bool edge, bool shared)
{
	/* 6.4.3.6: consumer, edge or level, active high, one interrupt */
	uint8_t d[9] = {0x89, 6, 0, (uint8_t)(1 | edge << 1 | shared << 3), 1};

	memcpy(d + 5, &gsi, 4);
	add_resource(r, d, sizeof(d));
}
