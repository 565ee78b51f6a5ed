/* SPDX-License-Identifier: Apache-2.0 */
/* The console device in a VM. */
#include <errno.h>

#include "devices/virtio/console.h"
#include "sized.h"
#include "vmm/vm.h"

void catnap_console_init_sized(struct catnap_console *console, size_t size)
{
	static const struct catnap_console defaults = {.size = 0};

	sized_init(console, size, &defaults, sizeof(defaults));
}

void(catnap_console_init)(struct catnap_console *console)
{
	catnap_console_init_sized(console, sizeof(*console));
}

static void destroy(struct virtio_device *dev)
{
	struct console *c = console_of(dev);

	console_destroy(&c);
}

static struct console *find(struct catnap_vm *vm)
{
	struct virtio_device *dev = vm_find_virtio(vm, VIRTIO_ID_CONSOLE);

	return dev ? console_of(dev) : NULL;
}

static int add(struct catnap_vm *vm, const struct catnap_console *given, struct error *err)
{
	struct catnap_console console;
	struct vm_made made = {.place = NULL};
	struct console_config cfg;
	struct console *c;
	int ret = vm_may_add(vm, "console", &console, sizeof(console), given, sizeof(console), err);

	if (ret < 0)
		return ret;
	cfg = (struct console_config){.output = console.output,
				      .output_ctx = console.ctx,
				      .cols = console.cols,
				      .rows = console.rows,
				      .dma = &vm->dma};
	if (find(vm))
		return error_fail(err, -EEXIST, "console: there is one already");
	ret = console_create(&cfg, &c);
	if (ret < 0)
		return ret;
	made.console = console;
	ret = vm_add_virtio(vm, console_device(c), destroy, &made, err);
	if (ret < 0)
		console_destroy(&c);
	return ret;
}

int catnap_vm_set_console(struct catnap_vm *vm, const struct catnap_console *console)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "console"))
		return -EPERM;
	return vm_added(vm, "console", add(vm, console, &err), &err);
}

size_t catnap_vm_console_input(struct catnap_vm *vm, const void *data, size_t len)
{
	struct console *c = find(vm);

	if (vm_in_child(vm, "console_input"))
		return 0;
	return c ? console_input(c, data, len) : 0;
}

int catnap_vm_console_resize(struct catnap_vm *vm, uint16_t cols, uint16_t rows)
{
	struct console *c = find(vm);
	struct vm_made *made;

	if (vm_in_child(vm, "console_resize"))
		return -EPERM;
	if (!c)
		return vm_fail(vm, -ENOENT, "console_resize: there is no console");
	console_resize(c, cols, rows);
	made = vm_nth_made(vm, VIRTIO_ID_CONSOLE, 0);
	made->console.cols = cols;
	made->console.rows = rows;
	return 0;
}
