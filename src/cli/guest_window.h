/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For how long a Linux guest is to poll by itself. A wake-up within its window costs no exit and no
 * interrupt. A halt that outlives the window comes to the host. docs/halt-polling.md has the
 * figures.
 */
#ifndef CLI_GUEST_WINDOW_H
#define CLI_GUEST_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/* The price of a sleep as long as nobody has measured it. */
#define SLEEP_PRICE_UNKNOWN_NS 50000

enum host_irqchip { HOST_IRQCHIP_UNKNOWN, HOST_IRQCHIP_USER, HOST_IRQCHIP_KERNEL };

/* What single things cost on this host, and what follows from that. */
struct host_price {
	uint32_t sleep_ns; /* the price of a sleep; 0: not known */
	uint32_t exit_ns;  /* the price of an exit of the guest's; 0: not known */
	/* The better irqchip for a guest with one vCPU, and with several. */
	enum host_irqchip one_vcpu, several;
};

/* Parameters of module haltpoll: guest_halt_poll_ns and so on. */
struct guest_window {
	uint32_t ns, grow_start_ns, grow, shrink;
};

/* No guest gets a longer window, whatever a sleep costs, because the price has come from other VMs.
 * It is the default maximum of policy adaptive. */
#define GUEST_WINDOW_MOST_NS 1000000

/* Linux's own factors. */
#define LINUX_GUEST_GROW   2
#define LINUX_GUEST_SHRINK 2

/*
 * Returns the parameters for a host of the price @p. @host_polls: it has learned what to do once
 * the guest has given up.
 *
 * Then the window is half the price of a sleep. Where an exit costs something, too, it is longer by
 * 3 1/4 exits, but no longer than a sleep and an exit together: beyond that giving up is cheaper.
 * It begins with a fifth, and grows as Linux has it. Where an exit costs something, each step costs
 * one: then it begins with a tenth, is whole after two short halts in a row, and gone after a long
 * one.
 *
 * Where the host sleeps at once, the window is a sleep and an exit, and moves in those two steps.
 */
struct guest_window guest_window(struct host_price p, bool host_polls);

#endif
