/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables: RSDP, XSDT, FADT, MADT (ACPI 6.5, 5.2) and MCFG, in one block for ACPI_BASE. SRAT and
 * SLIT, where there are nodes, are in acpi_numa.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci/bus.h"
#include "devices/power.h"
#include "vmm/acpi_impl.h"

#define LISTED 5 /* in the XSDT, at most */

#define RESET_PORT  0xcf9
#define RESET_VALUE 0x06

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct rsdp) == 36, "ACPI 6.5, table 5.3");
#define RSDP_V1_SIZE 20

/* Generic address structure. */
struct gas {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));
#define GAS_IO_BYTE(port)  ((struct gas){.space = 1, .width = 8, .access = 1, .address = (port)})
#define GAS_IO_DWORD(port) ((struct gas){.space = 1, .width = 32, .access = 3, .address = (port)})

struct fadt {
	struct acpi_header h;
	uint32_t facs, dsdt;
	uint8_t model, profile;
	uint16_t sci;
	/* Of a machine that is not hardware-reduced: 0, but for the PM timer. */
	uint8_t fixed_hardware[28];
	uint32_t pm_timer;
	uint8_t more_fixed_hardware[11];
	uint8_t pm_timer_len;
	uint8_t rest_of_fixed_hardware[17];
	uint16_t boot_arch;
	uint8_t reserved;
	uint32_t flags;
	struct gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct gas x_fixed_hardware[5];
	struct gas x_pm_timer;
	struct gas x_gpe[2];
	struct gas sleep_control, sleep_status;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, pm_timer) == 76, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, pm_timer_len) == 91, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, x_pm_timer) == 208, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, boot_arch) == 109, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "ACPI 6.5, table 5.9");
_Static_assert(sizeof(struct fadt) == 276, "ACPI 6.5, table 5.9");

#define FADT_REVISION 6
#define FADT_MINOR    5

#define BOOT_NO_VGA	(1u << 2)
#define BOOT_NO_RTC	(1u << 5)
#define FADT_WBINVD	(1u << 0)
#define FADT_NO_PWR_FIX (1u << 4) /* the power button is a device */
#define FADT_NO_SLP_FIX (1u << 5) /* and a sleep button would be one */
#define FADT_TIMER_32	(1u << 8)
#define FADT_RESET	(1u << 10)
#define FADT_HEADLESS	(1u << 12)
#define FADT_HW_REDUCED (1u << 20)

struct madt {
	struct acpi_header h;
	uint32_t lapic_address, flags;
} __attribute__((packed));
#define MADT_REVISION 5

struct madt_lapic {
	uint8_t type, len, uid, id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, len, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, len, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

struct madt_x2apic {
	uint8_t type, len;
	uint16_t reserved;
	uint32_t id, flags, uid;
} __attribute__((packed));

_Static_assert(sizeof(struct madt_lapic) == 8 && sizeof(struct madt_ioapic) == 12 &&
		       sizeof(struct madt_lapic_nmi) == 6 && sizeof(struct madt_x2apic) == 16,
	       "ACPI 6.5, 5.2.12");

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_LAPIC_NMI = 4, MADT_X2APIC = 9 };
#define MADT_ENABLED   1u
#define ALL_PROCESSORS 0xff
#define XAPIC_IDS      255u

/* Where PCI configuration space is: one segment, one bus. */
struct mcfg {
	struct acpi_header h;
	uint8_t reserved[8];
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved_too;
} __attribute__((packed));
_Static_assert(sizeof(struct mcfg) == 60, "PCI Firmware Specification 3.3, table 4-3");

static uint64_t address(const struct acpi *acpi, const void *table)
{
	return ACPI_BASE + (uint64_t)((const uint8_t *)table - acpi->bytes);
}

static struct acpi_header *add_dsdt(struct acpi *acpi, const struct acpi_config *cfg)
{
	uint8_t aml[8192];
	int len = dsdt_build(cfg, aml, sizeof(aml));
	struct acpi_header *h;

	if (len < 0)
		return NULL;
	h = acpi_add_table(acpi, "DSDT", sizeof(*h) + (size_t)len);
	if (!h)
		return NULL;
	memcpy(h + 1, aml, (size_t)len);
	acpi_finish(h, "DSDT", 2, sizeof(*h) + (size_t)len);
	return h;
}

static struct acpi_header *add_fadt(struct acpi *acpi, const struct acpi_header *dsdt)
{
	struct fadt *f = acpi_add_table(acpi, "FACP", sizeof(*f));

	if (!f)
		return NULL;
	f->x_dsdt = address(acpi, dsdt);
	f->boot_arch = BOOT_NO_VGA | BOOT_NO_RTC;
	f->flags = FADT_WBINVD | FADT_NO_PWR_FIX | FADT_NO_SLP_FIX | FADT_RESET | FADT_HEADLESS |
		   FADT_HW_REDUCED;
	/*
	 * Of a hardware-reduced machine these fields are ignored, says table 5.9; but Linux and
	 * BSDs look, and have nothing else to hold their TSC against without kvmclock.
	 */
	f->flags |= FADT_TIMER_32;
	f->pm_timer = POWER_TIMER_PORT;
	f->pm_timer_len = 4;
	f->x_pm_timer = GAS_IO_DWORD(POWER_TIMER_PORT);
	f->reset = GAS_IO_BYTE(RESET_PORT);
	f->reset_value = RESET_VALUE;
	f->minor = FADT_MINOR;
	f->sleep_control = GAS_IO_BYTE(POWER_CONTROL_PORT);
	f->sleep_status = GAS_IO_BYTE(POWER_STATUS_PORT);
	memcpy(f->hypervisor, "CATNAP\0", sizeof(f->hypervisor));
	acpi_finish(&f->h, "FACP", FADT_REVISION, sizeof(*f));
	return &f->h;
}

/* Adds the processors. Ids that fit in 8 bits have the old form: software without x2APIC looks for
 * nothing else. */
static uint8_t *add_processors(uint8_t *p, uint32_t vcpus)
{
	for (uint32_t i = 0; i < vcpus; i++) {
		if (i < XAPIC_IDS) {
			struct madt_lapic e = {MADT_LAPIC, sizeof(e), (uint8_t)i, (uint8_t)i,
					       MADT_ENABLED};

			memcpy(p, &e, sizeof(e));
			p += sizeof(e);
		} else {
			struct madt_x2apic e = {MADT_X2APIC, sizeof(e), 0, i, MADT_ENABLED, i};

			memcpy(p, &e, sizeof(e));
			p += sizeof(e);
		}
	}
	return p;
}

/* Adds the MADT. Pins and interrupt numbers are the same, ISA ones too: there is nothing to
 * override. */
static struct acpi_header *add_madt(struct acpi *acpi, const struct acpi_config *cfg)
{
	uint32_t large = cfg->vcpus > XAPIC_IDS ? cfg->vcpus - XAPIC_IDS : 0;
	size_t len = sizeof(struct madt) + sizeof(struct madt_ioapic) +
		     sizeof(struct madt_lapic_nmi) +
		     (cfg->vcpus - large) * sizeof(struct madt_lapic) +
		     large * sizeof(struct madt_x2apic);
	struct madt_ioapic ioapic = {
		MADT_IOAPIC, sizeof(ioapic), 0, 0, (uint32_t)IOAPIC_MMIO_BASE, 0};
	struct madt_lapic_nmi nmi = {MADT_LAPIC_NMI, sizeof(nmi), ALL_PROCESSORS, 0, 1};
	struct madt *m = acpi_add_table(acpi, "APIC", len);
	uint8_t *p;

	if (!m)
		return NULL;
	m->lapic_address = (uint32_t)LAPIC_MMIO_BASE;
	p = add_processors((uint8_t *)(m + 1), cfg->vcpus);
	memcpy(p, &ioapic, sizeof(ioapic));
	memcpy(p + sizeof(ioapic), &nmi, sizeof(nmi));
	acpi_finish(&m->h, "APIC", MADT_REVISION, len);
	return &m->h;
}

static struct acpi_header *add_mcfg(struct acpi *acpi)
{
	struct mcfg *m = acpi_add_table(acpi, "MCFG", sizeof(*m));

	if (!m)
		return NULL;
	m->base = PCI_ECAM_BASE;
	acpi_finish(&m->h, "MCFG", 1, sizeof(*m));
	return &m->h;
}

static struct acpi_header *add_xsdt(struct acpi *acpi, struct acpi_header *const *tables, size_t n)
{
	struct acpi_header *h = acpi_add_table(acpi, "XSDT", sizeof(*h) + n * sizeof(uint64_t));

	if (!h)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		uint64_t at = address(acpi, tables[i]);

		memcpy((uint8_t *)(h + 1) + i * sizeof(at), &at, sizeof(at));
	}
	acpi_finish(h, "XSDT", 1, sizeof(*h) + n * sizeof(uint64_t));
	return h;
}

static int build(const struct acpi_config *cfg, struct acpi *acpi)
{
	/* First, so that it lies at ACPI_BASE. */
	struct rsdp *r = acpi_add_table(acpi, "RSDP", sizeof(*r));
	struct acpi_header *listed[LISTED] = {NULL}, *dsdt = add_dsdt(acpi, cfg), *xsdt;
	size_t n = 0;

	if (!r || !dsdt)
		return -ENOSPC;
	listed[n++] = add_fadt(acpi, dsdt);
	listed[n++] = add_madt(acpi, cfg);
	if (cfg->pci)
		listed[n++] = add_mcfg(acpi);
	if (cfg->memory && cfg->memory->numa.count) {
		listed[n++] = acpi_add_srat(acpi, cfg);
		listed[n++] = acpi_add_slit(acpi, &cfg->memory->numa);
	}
	for (size_t i = 0; i < n; i++)
		if (!listed[i])
			return -ENOSPC;
	xsdt = add_xsdt(acpi, listed, n);
	if (!xsdt)
		return -ENOSPC;
	memcpy(r->signature, "RSD PTR ", sizeof(r->signature));
	memcpy(r->oem_id, ACPI_OEM_ID, sizeof(r->oem_id));
	r->revision = 2;
	r->length = sizeof(*r);
	r->xsdt = address(acpi, xsdt);
	r->checksum = acpi_checksum(r, RSDP_V1_SIZE);
	r->extended_checksum = acpi_checksum(r, sizeof(*r));
	acpi->rsdp = address(acpi, r);
	return 0;
}

int acpi_build(const struct acpi_config *cfg, struct acpi *acpi)
{
	uint8_t *less;
	int ret;

	memset(acpi, 0, sizeof(*acpi));
	acpi->bytes = calloc(1, ACPI_TABLES_SIZE);
	if (!acpi->bytes)
		return -ENOMEM;
	ret = build(cfg, acpi);
	if (ret < 0) {
		acpi_free(acpi);
		return ret;
	}
	/* They are kept as long as the VM is. */
	less = realloc(acpi->bytes, acpi->len);
	if (less)
		acpi->bytes = less;
	return 0;
}

void acpi_free(struct acpi *acpi)
{
	free(acpi->bytes);
	memset(acpi, 0, sizeof(*acpi));
}
