# SPDX-License-Identifier: Apache-2.0
# title: network, vsock, entropy, console and balloon by virtio-mmio: by ACPI, a device tree and the command line
# needs: linux sock term
# processors: 1
# limit: 1000
# memory: 2560
needs_option --transport --net --vsock --balloon --console
# shellcheck source=tests/lab/devices.sh
. /lab/devices.sh
devices_begin 8
for hw in acpi fdt mptable; do
	for io in vcpu thread; do
		[ $hw != fdt ] || [ $io != thread ] || continue
		case $hw in
		# With neither of the two there is nothing that would switch the machine off.
		mptable) how="the command line" end="end=reboot" want=32 ;;
		*) how=$hw end='' want=0 ;;
		esac
		# shellcheck disable=SC2086
		guest_start 300 -k /guest/bzImage -i /guest/initramfs -m 512M --transport mmio --hw $hw --io $io $all_devices \
			-c "console=hvc0 quiet run=report,shell tty=/dev/hvc0 $end"
		if ! wait_for 90 'guest# '; then
			not_ok "$how, --io $io: no shell"
			show
			kill $pid
			guest_end
			continue
		fi
		echo 'ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up' >&3
		try_devices "$how, --io $io"
		is "$how, --io $io: by virtio-mmio" \
			"$(ask mmio 30 'ls -d /sys/bus/platform/drivers/virtio-mmio/*/virtio* | wc -l')" 5
		echo exit >&3
		guest_end
		is "$how, --io $io: the guest ended" $status $want
		is "$how, --io $io: nothing to say for catnap" "$(cat $err)" ""
	done
done
