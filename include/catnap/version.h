/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/version.h - the version of these headers; the other headers include it.
 *
 * MAJOR.MINOR.PATCH. Up to 1.0 each MINOR may break what was built against the one before, and the
 * shared library's soname is libcatnap.so.0.MINOR. From 1.0 on only a new MAJOR may, and the soname
 * is libcatnap.so.MAJOR. A PATCH adds nothing and breaks nothing.
 */
#ifndef CATNAP_VERSION_H
#define CATNAP_VERSION_H

#define CATNAP_VERSION_MAJOR  0
#define CATNAP_VERSION_MINOR  2
#define CATNAP_VERSION_PATCH  0
#define CATNAP_VERSION_STRING "0.2.0"

/** For comparisons: version 1.2.3 is 1002003. */
#define CATNAP_MAKE_VERSION(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
/** The version of these headers, for #if. */
#define CATNAP_VERSION_NUMBER \
	CATNAP_MAKE_VERSION(CATNAP_VERSION_MAJOR, CATNAP_VERSION_MINOR, CATNAP_VERSION_PATCH)

#endif
