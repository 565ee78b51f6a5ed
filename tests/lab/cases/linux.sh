# SPDX-License-Identifier: Apache-2.0
# title: a Linux guest with two vCPUs, both irqchips, with the haltpoll driver
# needs: linux
# smoke: yes
# limit: 90
needs_option --initramfs
for irqchip in user kernel; do
	linux 40 run=report --cpus 2 --irqchip $irqchip
	healthy "$irqchip: to init and to its end" 2
	is "$irqchip: idle driver and governor" "$(value idle_driver) $(value idle_governor)" "haltpoll haltpoll"
	note "init after $(value init) s, clocksource $(value clocksource)"
done
