/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI Machine Language, as much of it as the DSDT needs (ACPI 6.5, chapter 20). Terms are appended
 * to a buffer in the order of the grammar; what has a length is opened and closed:
 *
 *	aml_device(a, "COM1");
 *	aml_name(a, "_UID");
 *	aml_integer(a, 1);
 *	aml_close(a);
 *
 * One that becomes too long, or too deep, sets failed and stays harmless: to be looked at once, at
 * the end.
 */
#ifndef VMM_AML_H
#define VMM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH 16

struct aml {
	uint8_t *bytes;
	size_t len, size;
	size_t open[AML_DEPTH]; /* where the PkgLength of each open term goes */
	unsigned int depth;
	bool failed;
};

/* Resource descriptors (6.4), collected before they become a buffer. */
struct aml_resources {
	uint8_t bytes[256];
	size_t len;
	bool failed;
};

void aml_init(struct aml *a, void *buffer, size_t size);
/* Ends the innermost open term. */
void aml_close(struct aml *a);

/* Begin terms with a length; each is to be closed. Names are of four characters, "\\" and "." make
 * paths. */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned int args, bool serialized);
void aml_package(struct aml *a, uint8_t elements);
/* Begins If (argument @arg == @value) { */
void aml_if_arg_is(struct aml *a, unsigned int arg, uint64_t value);
/* Begins If (argument @arg == Buffer of these @len bytes) { */
void aml_if_arg_is_buffer(struct aml *a, unsigned int arg, const void *bytes, size_t len);
/* Begins If (@path) { */
void aml_if_path(struct aml *a, const char *path);
/* Begins If (Local0 & @mask) { */
void aml_if_local_has(struct aml *a, uint64_t mask);
/* Begins Else {; after the If was closed */
void aml_else(struct aml *a);

/* Adds Name (@name, ... the term that follows ...) */
void aml_name(struct aml *a, const char *path);
void aml_integer(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *text);
/* Writes an id such as "PNP0501" as the integer that _HID takes. */
void aml_eisa_id(struct aml *a, const char *id);
void aml_path(struct aml *a, const char *path);
void aml_arg(struct aml *a, unsigned int arg);
void aml_notify(struct aml *a, const char *path, uint8_t value);
/* Adds Return (... the term that follows ...) */
void aml_return(struct aml *a);
/* Adds Store (... argument @arg ..., @path) */
void aml_store_arg(struct aml *a, unsigned int arg, const char *path);
/* Adds Store (@value, @path) */
void aml_store_integer(struct aml *a, uint64_t value, const char *path);
/* Adds Store (@path, Local0) */
void aml_load_local(struct aml *a, const char *path);
/* Adds Or (@path, @value, @path) */
void aml_or(struct aml *a, const char *path, uint64_t value);
/* Adds CreateDWordField (argument @arg, @offset, @name) */
void aml_dword_field(struct aml *a, unsigned int arg, uint8_t offset, const char *name);
/* Writes an I/O region of @len bytes, and one field of 8 bits at its start. */
void aml_io_byte(struct aml *a, const char *region, const char *field, uint16_t port, uint8_t len);
/* Writes an I/O region, and @n fields of 32 bits from its start on. */
void aml_io_dwords(struct aml *a, const char *region, uint16_t port, const char *const *fields,
		   unsigned int n);
void aml_resource_template(struct aml *a, const struct aml_resources *r);

void aml_res_io(struct aml_resources *r, uint16_t port, uint8_t len);
/* Adds a range that the device itself uses. */
void aml_res_memory(struct aml_resources *r, uint32_t base, uint32_t size);
/* Adds a range that a bridge hands on to the devices behind it. */
void aml_res_memory_window(struct aml_resources *r, uint32_t base, uint32_t size);
void aml_res_bus_numbers(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_res_interrupt(struct aml_resources *r, uint32_t gsi, bool edge, bool shared);

#endif
