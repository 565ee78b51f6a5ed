# SPDX-License-Identifier: Apache-2.0
# title: the probe guest: timers, IPIs, 16 vCPUs
# smoke: yes
# limit: 60
probe 30 "workload=cpus cpus=16" --cpus 16
is "16 vCPUs" "$status $(sed -n 's/^s //p' $out)" "65 16"
probe 20 "workload=cpus cpus=2" --cpus 2 --irqchip kernel
is "irqchip=kernel: 2 vCPUs" "$status $(sed -n 's/^s //p' $out)" "65 2"
probe 20 "workload=timer samples=50 warmup=2 gap_ns=200000"
is "timer" "$status $(grep -c '^s ' $out)" "65 50"
probe 20 "workload=ipi samples=200 gap_ns=0" --cpus 2
is "IPIs" "$status $(grep -c '^s ' $out)" "65 200"
