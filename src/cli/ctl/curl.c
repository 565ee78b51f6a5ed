/* SPDX-License-Identifier: Apache-2.0 */
/* See curl.h. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "cli/ctl/curl.h"

#ifdef STATIC_PROGRAM
int curl_load(struct curl_functions *f, const char **why)
{
	*why = "this is a static program, which loads no library";
	return -ENOPKG;
}
#else
int curl_load(struct curl_functions *f, const char **why)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define X(name) {"curl_" #name, offsetof(struct curl_functions, name)},
		CURL_FUNCTIONS(X)
#undef X
	};
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

	*why = lib ? NULL : dlerror();
	for (size_t i = 0; lib && i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(lib, functions[i].name);

		/* A pointer to a function is none to data: copied as POSIX has it. */
		memcpy((char *)f + functions[i].offset, &function, sizeof(function));
		if (!function && !*why)
			*why = functions[i].name;
	}
	if (*why)
		return -ENOPKG;
	return f->global_init(CURL_GLOBAL_NOTHING) == CURLE_OK ? 0 : -ENOMEM;
}
#endif
