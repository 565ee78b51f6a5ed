# SPDX-License-Identifier: Apache-2.0
# title: what ./quickstart shows: a stock Debian kernel that halts in catnap
# needs: stock-6.12
# processors: 1
# limit: 150
needs_option --initramfs
guest 100 -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs --cpus 2 -m 512M \
	--halt-poll policy=kernel --guest-halt-poll off -c "console=ttyS0 quiet run=report"
healthy "a stock Debian kernel, 2 vCPUs: to init and to its end" 2
note "Linux $(value release), $(value cpus_online) CPUs, init after $(value init) s"
note "halts in catnap: $(stat_sum halt_exits); polled for: $(stat_sum halt_attempted_poll), woken while" \
	"polling: $(stat_sum halt_successful_poll)"
