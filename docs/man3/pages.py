# SPDX-License-Identifier: Apache-2.0
"""Which pages section 3 has, and what belongs to each.

The first pattern that matches a function's whole name decides. Structures, enumerations and constants follow
the functions: they are on the page of the first function that names them. A function that nothing matches
stops the build: it belongs somewhere, or has a page of its own, and that is said here.
"""

# (page, header, one line, what it is about, functions)
PAGES = [
    ('catnap', 'catnap.h', 'a library for virtual machines on KVM', None, r'catnap_version'),
    ('catnap_vm_create', 'catnap.h', 'make and destroy a virtual machine',
     'A virtual machine is made of a configuration. All that can fail early fails when it is made.',
     r'catnap_vm_(config_init(_sized)?|create|destroy|request_destroy)'),
    ('catnap_vm_start', 'catnap.h', 'start, wait for and end a virtual machine',
     'Each vCPU is a thread of its own, from the start to the end. The end has a reason, whoever caused it.',
     r'catnap_vm_(start|wait|get_fd|get_stopping_fd|request_stop|stop|power_button|flush_halt_trace)'),
    ('catnap_vm_pause', 'catnap.h', 'pause, resume and reset a virtual machine',
     'A pause stops all vCPUs, and nothing else. A reset begins the guest anew in the same virtual machine.',
     r'catnap_vm_(pause|resume|request_pause|get_paused_fd|reset|request_reset)'),
    ('catnap_rate_limit', 'catnap.h', 'limit what a device may do',
     'A limit is two token buckets, of bytes and of operations. It can be changed while the guest runs.',
     r'catnap_vm_set_(disk|net|rng)_limit'),
    ('catnap_disk', 'catnap.h', 'disks of a virtual machine',
     'A disk is a raw image, a file or a block device. Disks are added before the start, or, with hotplug, come and go '
     'later; their images can be changed at any time.', r'catnap_(disk_\w+|vm_\w+_disk)'),
    ('catnap_net', 'catnap.h', 'network interfaces of a virtual machine',
     'An interface of the guest is a TAP interface of the host. It is added before the start, or, with '
     'hotplug, comes and goes later.', r'catnap_(net_\w+|vm_(add|remove)_net|vm_set_link)'),
    ('catnap_vhost', 'catnap.h', 'devices whose back end is another process',
     'A disk, a network interface, a folder or any other device may be served by another process, by the vhost-user protocol. '
     'It is added before the start.', r'catnap_(vhost_\w+|vm_add_vhost)'),
    ('catnap_hotplug', 'catnap.h', 'memory that a guest plugs and unplugs',
     'Such memory is added before the start. How much of it the guest is to have can be changed at any time.',
     r'catnap_(hotplug_\w+|vm_[sg]et_hotplug\w*)'),
    ('catnap_pmem', 'catnap.h', 'files that a guest has in its address space',
     'Persistent memory is a file of the host, which is mapped into the guest. It is added before the start.',
     r'catnap_(pmem_\w+|vm_\w+_pmem\w*)'),
    ('catnap_vsock', 'catnap.h', 'sockets between guest and host',
     "The guest's ports are reached by a Unix socket of the host, and the host's by others beside it.",
     r'catnap_(vsock_\w+|vm_set_vsock)'),
    ('catnap_console', 'catnap.h', 'consoles of a virtual machine',
     'The serial port is there always, and its output is in the configuration, see catnap_vm_create(3). A virtio console is '
     'added before the start.', r'catnap_(console_\w+|vm_set_console|vm_console_\w+|vm_serial_\w+)'),
    ('catnap_balloon', 'catnap.h', 'memory that a guest gives back',
     'A balloon is added before the start. Its target can be changed at any time.',
     r'catnap_(balloon_\w+|vm_set_balloon\w*|vm_get_balloon_stats)'),
    ('catnap_vm_next_event', 'catnap.h', 'what happens to a virtual machine',
     'Events are kept, the last 64 of them, until somebody takes them. Nobody calls back.',
     r'catnap_vm_(next_event|get_event_fd)'),
    ('catnap_vm_last_error', 'catnap.h', 'the sentence of the last error',
     'Each call that fails returns a number, and leaves a sentence that says what was wrong with what.',
     r'catnap_vm_last_error'),
    ('catnap_vm_get_state', 'catnap.h', 'what a virtual machine is',
     'These tell what a virtual machine was made of, how it is called, where it stands, and which threads it has.',
     r'catnap_vm_get_(state|name|vcpu_count|config|vcpu_tid|io_tid)'),
    ('catnap_vm_signal_msi', 'catnap.h', 'interrupts and doorbells of devices of your own',
     'With these a program adds devices of its own: it interrupts the guest, and hears of what the guest writes.',
     r'catnap_(doorbell_\w+|vm_signal_msi|vm_(add|del)_(interrupt_event|doorbell))'),
    ('catnap_vm_guest_memory', 'catnap.h', "a guest's memory, and what describes its hardware",
     'A guest may change its memory at any moment: copy, then check, then use.',
     r'catnap_vm_(guest_memory|get_memory_fd|memory_fault|get_acpi_table|get_device_tree)'),
    ('catnap_vm_set_halt_poll', 'catnap.h', 'change the halt polling of a virtual machine',
     'Halt polling belongs to one vCPU, and can be changed while it runs. With irqchip kernel it is KVM that polls, below a '
     'limit that may be learned.', r'catnap_vm_((set|get)_halt_poll|get_poll_limit_\w+|learn_poll_limit)'),
    ('catnap_vm_get_stats', 'catnap.h', 'statistics of a virtual machine',
     'Statistics count from the start, and stay after the end. The caller sets the member size before.',
     r'catnap_vm_get_(stats|policy_stats|device_stats|io_stats)'),
    ('catnap_check_host', 'catnap.h', 'what a host offers', 'What a host lacks costs something, or rules something out.',
     r'catnap_(check_host\w*|host_\w+)'),
    ('catnap_halt_poll', 'poll.h', 'parameters of halt polling',
     'Names and meanings are those of Linux: kvm.halt_poll_ns and its companions.', r'catnap_halt_poll_\w+'),
    ('catnap_policy', 'poll.h', 'a policy of halt polling alone',
     'A policy decides from a list of halts, with no clock and no thread: for simulation.', r'catnap_policy_\w+'),
    ('catnap_poll_limit', 'poll.h', "a limit for somebody else's polling", None, r'catnap_poll_limit_\w+'),
    ('catnap_halter', 'poll.h', 'wait for work: poll, then sleep', None,
     r'catnap_halter_(?!(add|mod|del)_source)\w+'),
    ('catnap_source', 'poll.h', 'sources of an event loop', None, r'catnap_(source_\w+|halter_(add|mod|del)_source)'),
    ('catnap_vm_snapshot', 'snapshot.h', 'put a virtual machine down in files',
     'A snapshot is made of a virtual machine that stands in a pause. It is a state file and a memory file.',
     r'catnap_(vm_snapshot|snapshot_request_\w+)'),
    ('catnap_vm_restore', 'snapshot.h', 'let a virtual machine go on from a snapshot',
     'The virtual machine is made with its devices, as it was. The caller says where those lead now.',
     r'catnap_(vm_restore|restore_\w+|vm_\w+_memory_handler\w*)'),
    ('catnap_vm_write_working_set', 'snapshot.h', 'put down what a restored guest touches',
     'The pages that a guest touches right after a restore can be brought in ahead by those that follow.',
     r'catnap_vm_write_working_set'),
    ('catnap_snapshot_open', 'snapshot.h', 'look at a snapshot, verify and merge it',
     'These read snapshots without a virtual machine. Files are taken for ones that an enemy wrote.',
     r'catnap_snapshot_\w+'),
    ('catnap_sandbox_enter', 'sandbox.h', 'close in a process that runs guests', None,
     r'catnap_(sandbox_\w+|vm_sandbox_\w+)'),
    ('catnap_keeper', 'sandbox.h', 'a process that does what a closed-in one may not', None, r'catnap_keeper_\w+'),
]

# Types that are used on several pages: where they are described.
TYPES = {
    'catnap_halt_stats': 'catnap_halter',
    'catnap_halt_poll': 'catnap_halt_poll',
    'catnap_policy_stats': 'catnap_policy',
    'catnap_rate_limit': 'catnap_rate_limit',
    'catnap_bucket': 'catnap_rate_limit',
}
