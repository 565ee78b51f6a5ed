# SPDX-License-Identifier: Apache-2.0
# title: the probe guest: each workload, 1 to 16 vCPUs, both irqchips, each policy
# limit: 150
for irqchip in user kernel; do
	for cpus in 1 2 4 16; do
		probe 30 "workload=cpus cpus=$cpus" --cpus $cpus --irqchip $irqchip
		is "$irqchip: $cpus vCPUs" "$status $(sed -n 's/^s //p' $out)" "65 $cpus"
	done
	probe 20 "workload=timer samples=50 warmup=2 gap_ns=200000" --irqchip $irqchip
	is "$irqchip: timer" "$status $(grep -c '^s ' $out)" "65 50"
	probe 20 "workload=timer samples=50 gap_ns=200000 random=1 apic=xapic" --irqchip $irqchip
	is "$irqchip: timer, xAPIC" "$status $(grep -c '^s ' $out)" "65 50"
	for gap in 0 100000; do
		probe 20 "workload=ipi samples=200 gap_ns=$gap" --cpus 2 --irqchip $irqchip
		is "$irqchip: IPIs, gap $gap" "$status $(grep -c '^s ' $out)" "65 200"
	done
done
for policy in off always fixed; do
	probe 30 "workload=ipi samples=200 gap_ns=0" --cpus 2 --halt-poll $policy
	is "IPIs, --halt-poll $policy" "$status $(grep -c '^s ' $out)" "65 200"
done
