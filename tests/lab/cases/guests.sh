# SPDX-License-Identifier: Apache-2.0
# title: the tiny guests of tests/guest, on this KVM
# needs: guests
# limit: 240
# Fewer of their settings than tests/guest/run.py has, which runs on the developer's own KVM.
tiny() # TEXT IMAGE CMDLINE ARGUMENT ...
{
	text=$1 image=$2 cmdline=$3
	shift 3
	guest 30 /guest/$image -m 16M --debug-exit 0xf4 -c "$cmdline" "$@"
	is "$irqchip: $text" "$status $(tail -n 1 $out)" "67 ok"
}

ends() # TEXT HOW STATUS
{
	guest 30 /guest/end.elf -m 16M --debug-exit 0xf4 -c "how=$2" --irqchip $irqchip
	is "$irqchip: $1" $status $3
}

for irqchip in user kernel; do
	set -- --irqchip $irqchip
	tiny "PVH" pvh.elf "hello=world" "$@"
	tiny "Multiboot" multiboot.elf "one two=3" "$@"
	tiny "flat" flat.bin "" --kernel-format flat "$@"
	tiny "string I/O" stringio.elf "" "$@"
	tiny "unclaimed ports and memory" unclaimed.elf "memory_end=16777216" "$@"
	tiny "timer, x2APIC" timer.elf apic=x2apic "$@"
	tiny "timer, xAPIC" timer.elf apic=xapic "$@"
	tiny "NMI" nmi.elf apic=x2apic --cpus 2 "$@"
	for cpus in 2 8; do
		tiny "$cpus processors" smp.elf cpus=$cpus --cpus $cpus "$@"
	done
	tiny "paravirtual EOI" pveoi.elf irqchip=$irqchip "$@"
	tiny "a storm of IPIs" storm.elf "cpus=4 rounds=100" --cpus 4 "$@"
	ends "reset by 0xcf9" cf9 32
	ends "reset by the keyboard controller" keyboard 32
	ends "triple fault" triple 33
done
# With KVM's own these two test KVM, and stand still at times: the emulated SVM loses its way when
# an NMI is injected while an interrupt window is open, with every host kernel.
irqchip=user
tiny "HLT with interrupts off, and an NMI" halt_off.elf nmi=1 --cpus 2
tiny "interrupt between STI and HLT" halt_race.elf rounds=500
tiny "interrupt priorities, x2APIC" priority.elf apic=x2apic
tiny "interrupt priorities, xAPIC" priority.elf apic=xapic
tiny "the guest's poll control" msr.elf ""
tiny "the guest's poll control, off" msr.elf poll=off
