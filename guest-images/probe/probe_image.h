/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe guest's ELF file, built into the program.
 */
#ifndef PROBE_IMAGE_H
#define PROBE_IMAGE_H

#include <stddef.h>

extern const unsigned char probe_image[];
extern const size_t probe_image_size;

#endif
