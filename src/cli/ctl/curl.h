/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of libcurl that are used, found when they are needed. */
#ifndef CLI_CTL_CURL_H
#define CLI_CTL_CURL_H

#define CURL_DISABLE_TYPECHECK 1
#include <curl/curl.h>

/* Each of libcurl's functions of that name. */
#define CURL_FUNCTIONS(X)      \
	X(global_init)         \
	X(easy_init)           \
	X(easy_cleanup)        \
	X(easy_reset)          \
	X(easy_setopt)         \
	X(easy_getinfo)        \
	X(multi_init)          \
	X(multi_cleanup)       \
	X(multi_add_handle)    \
	X(multi_remove_handle) \
	X(multi_perform)       \
	X(multi_poll)          \
	X(multi_info_read)     \
	X(slist_append)        \
	X(slist_free_all)

struct curl_functions {
#define X(name) __typeof__(&curl_##name) name;
	CURL_FUNCTIONS(X)
#undef X
};

/* Loads libcurl.so.4, which stays. 0; -ENOPKG, and *@why is what the loader says, or what is missing
 * in it. */
int curl_load(struct curl_functions *f, const char **why);

#endif
