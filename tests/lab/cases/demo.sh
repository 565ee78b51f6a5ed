# SPDX-License-Identifier: Apache-2.0
# title: what ./quickstart shows: a stock Debian kernel that halts in catnap
# needs: stock-6.12
# processors: 2
# limit: 150
needs_option --initramfs

# The cost of a sleep here decides for how long the guest polls.
export XDG_CACHE_HOME=/tmp
catnap check >/tmp/check 2>&1
guest 100 -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs --cpus 2 -m 512M \
	-c "console=ttyS0 quiet run=pipe,report rounds=500"
healthy "a stock Debian kernel, 2 vCPUs: to init, through a pipe between them, to its end" 2
note "Linux $(value release), $(value cpus_online) CPUs, init after $(value init) s"
note "a sleep costs $(sed -n 's/.*price of a sleep *//p' /tmp/check) here; so the guest polls for" \
	"$(($(value guest_halt_poll_ns) / 1000)) us at most by itself"
note "a round through the pipe takes $(($(value pipe_round_ns) / 1000)) us in this emulated machine: little comes so soon"
note "halts of the guest: polled for inside: $(value idle_polls), HLT executed: $(value idle_halts)"
note "halts in catnap: $(stat_sum halt_exits); polled for after the guest: $(stat_sum after_guest_attempted)," \
	"woken while polling: $(stat_sum after_guest_successful)"
