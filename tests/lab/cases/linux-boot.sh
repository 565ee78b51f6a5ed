# SPDX-License-Identifier: Apache-2.0
# title: Linux by bzImage, vmlinux and PVH, with ACPI and a device tree, 1 to 16 vCPUs
# needs: linux
# processors: 1
# limit: 900
# memory: 2048
needs_option --initramfs --hw
for irqchip in user kernel; do
	for cpus in 1 2 4 16; do
		for how in "bzImage bzimage acpi" "bzImage bzimage fdt" "vmlinux linux acpi" "vmlinux linux fdt" \
			"vmlinux pvh acpi"; do
			# shellcheck disable=SC2086
			set -- $how
			linux $((30 + 5 * cpus)) run=report --cpus $cpus --irqchip $irqchip -k "/guest/$1" \
				--kernel-format "$2" --hw "$3"
			healthy "$irqchip: $2, $3, $cpus vCPUs" $cpus || continue
			note "init after $(value init) s"
			want="yes no"
			[ "$3" = acpi ] || want="no yes"
			[ "$(value acpi) $(value device_tree)" = "$want" ] ||
				not_ok "$irqchip: $2, $3: acpi $(value acpi), device tree $(value device_tree)"
		done
	done
done
# Memory beyond the hole below 4 GiB is too much for the lab; an odd size is not.
for memory in 128M 300M 1023M; do
	linux 60 run=report -m $memory
	healthy "$memory of memory" 1
	between "$memory of memory: what the guest has" "$(value memory_mib)" $((${memory%M} - 40)) ${memory%M}
done
