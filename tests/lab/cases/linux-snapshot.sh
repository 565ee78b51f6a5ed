# SPDX-License-Identifier: Apache-2.0
# title: snapshots: kernels at work are killed and go on, again and again; clones know that they are
# needs: linux stock-6.1 stock-6.12 sock disk
# processors: 1
# limit: 3600
# long: 14400
# memory: 2560
needs_option --restore
# shellcheck source=tests/lab/snapshots.sh
. /lab/snapshots.sh
peer_begin
over_all "6.12 4 --irqchip user --transport pci
	6.12 2 --irqchip kernel --transport mmio
	6.1 1 --irqchip user --transport mmio
	6.1 4 --irqchip kernel --transport pci
	6.12 1 --irqchip kernel --transport pci
	own 1 --irqchip user --transport pci
	own 2 --irqchip kernel --transport mmio --hw fdt"
