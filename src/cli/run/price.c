/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps what a sleep costs on this host, from one VM to the next. The first thing that a Linux
 * guest does is to decide for how long it polls, and then nothing has been measured yet.
 */
#include "cli/run/run.h"

/* So many sleeps at least have to be behind a price that the next VM shall believe. */
#define SLEEPS_ENOUGH 64

void run_price_read(const struct run_cfg *cfg, struct run_io *io)
{
	/* With --irqchip kernel the halts are KVM's, and nobody measures. */
	if (cfg->irqchip == CATNAP_IRQCHIP_USER)
		price_file_read(&io->price);
}

struct run_guest_halt_poll run_guest_halt_poll(const struct run_cfg *cfg, struct run_io *io)
{
	struct run_guest_halt_poll g = cfg->guest_poll;
	uint32_t known = io->price.known.sleep_ns;
	char text[160];

	/* KVM's halts are not polled for once the guest has: it keeps Linux's window. */
	if (g.mode == GUEST_POLL_OFF || !g.by_price || cfg->irqchip != CATNAP_IRQCHIP_USER)
		return g;
	run_guest_halt_poll_settle(&g, io->price.known, cfg->halt_poll.policy);
	snprintf(text, sizeof(text), "a Linux guest polls for %u ns at most: a sleep %s %u ns here",
		 g.ns, known ? "was last measured to cost" : "is taken to cost",
		 known ? known : SLEEP_PRICE_UNKNOWN_NS);
	log_message(&io->messages, CATNAP_LOG_INFO, text);
	return g;
}

static uint64_t sleeps(const struct catnap_halt_stats *h)
{
	uint64_t n = 0;

	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++)
		n += h->halt_wait_hist[i];
	return n;
}

/* Returns the price by the vCPU that has slept most; 0: none has slept enough. */
static uint64_t measured(struct catnap_vm *vm, uint32_t vcpus)
{
	uint64_t most = SLEEPS_ENOUGH - 1, ns = 0;

	for (uint32_t i = 0; i < vcpus; i++) {
		struct catnap_vcpu_stats s = {.size = sizeof(s)};

		if (catnap_vm_get_stats(vm, i, &s) == 0 && sleeps(&s.halt) > most) {
			most = sleeps(&s.halt);
			ns = s.halt.price_ns;
		}
	}
	return ns;
}

/* Writes the price. The one that was known counts for half: one VM's bad minute is not the host's
 * price. */
void run_price_write(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	struct host_price p = io->price.known;
	uint64_t ns;

	if (io->price.fd < 0)
		return;
	ns = measured(vm, cfg->cpus);
	if (!ns)
		return;
	p.sleep_ns = (uint32_t)(p.sleep_ns ? (p.sleep_ns + ns) / 2 : ns);
	price_file_write(&io->price, p);
}
