# SPDX-License-Identifier: Apache-2.0
# title: snapshots: Linux at work is killed and goes on, again and again; clones know that they are
# needs: stock-6.1 stock-6.12 sock disk
# processors: 1
# limit: 2400
# long: 14400
# memory: 2560
needs_option --restore
# shellcheck source=tests/lab/snapshots.sh
. /lab/snapshots.sh
peer_begin
over 6.12 4 --irqchip user --transport pci
over 6.12 2 --irqchip kernel --transport mmio
over 6.1 1 --irqchip user --transport mmio
