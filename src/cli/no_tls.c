/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For a static program: what libmicrohttpd calls of GnuTLS, of which there is no archive whose own
 * needs have archives. The control socket is a Unix socket and never asks for TLS, so each of them
 * says that it cannot (GNUTLS_E_UNIMPLEMENTED_FEATURE), as far as it returns anything.
 */
#include <stddef.h>
#include <stdlib.h>

#define UNIMPLEMENTED (-1250)

/* Sets nothing up: it is called without TLS, too. */
int gnutls_global_init(void);
void gnutls_global_deinit(void);
const char *gnutls_strerror(int error);
extern void *(*const gnutls_malloc)(size_t);

int gnutls_global_init(void)
{
	return 0;
}

void gnutls_global_deinit(void)
{
}

const char *gnutls_strerror(int error)
{
	return "this program has no TLS";
}

void *(*const gnutls_malloc)(size_t) = malloc;

#define NONE(name)                    \
	long name(void);              \
	long name(void)               \
	{                             \
		return UNIMPLEMENTED; \
	}

NONE(gnutls_alpn_set_protocols)
NONE(gnutls_bye)
NONE(gnutls_certificate_allocate_credentials)
NONE(gnutls_certificate_free_credentials)
NONE(gnutls_certificate_server_set_request)
NONE(gnutls_certificate_set_dh_params)
NONE(gnutls_certificate_set_retrieve_function2)
NONE(gnutls_certificate_set_retrieve_function3)
NONE(gnutls_certificate_set_x509_key_mem)
NONE(gnutls_certificate_set_x509_key_mem2)
NONE(gnutls_certificate_set_x509_trust_mem)
NONE(gnutls_cipher_get)
NONE(gnutls_credentials_set)
NONE(gnutls_deinit)
NONE(gnutls_dh_params_deinit)
NONE(gnutls_dh_params_import_pkcs3)
NONE(gnutls_dh_params_init)
NONE(gnutls_handshake)
NONE(gnutls_init)
NONE(gnutls_priority_deinit)
NONE(gnutls_priority_init)
NONE(gnutls_priority_set)
NONE(gnutls_protocol_get_version)
NONE(gnutls_psk_allocate_server_credentials)
NONE(gnutls_psk_free_server_credentials)
NONE(gnutls_psk_set_server_credentials_function)
NONE(gnutls_record_check_pending)
NONE(gnutls_record_get_direction)
NONE(gnutls_record_recv)
NONE(gnutls_record_send)
NONE(gnutls_session_get_ptr)
NONE(gnutls_session_set_ptr)
NONE(gnutls_transport_set_int2)
