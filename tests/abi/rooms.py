# SPDX-License-Identifier: Apache-2.0
"""The rooms of src/, and which may use which: what CONTRIBUTING.md says, for the tests beside."""

# Folder of src -> folders that its files may use; catnap/ and the headers of src itself are open to
# all.
MAY = {
    'poll': {'poll'},
    'sandbox': {'sandbox'},
    'devices': {'devices', 'poll'},
    'vcpu': {'vcpu', 'devices', 'poll'},
    'vmm': {'vmm', 'vcpu', 'devices', 'poll', 'sandbox'},
    'cli': {'cli'},
}

# A folder in a room -> what else of the room it may use, beside itself. A folder that is not here
# is as open as its room.
INNER = {
    'cli': set(),
    'cli/api': {'cli'},
    'cli/boot': {'cli'},
    'cli/run': {'cli', 'cli/api', 'cli/boot'},
    'cli/serve': {'cli', 'cli/api'},
    'cli/bench': {'cli', 'cli/bench/workload'},
    'cli/bench/workload': {'cli', 'cli/bench'},
    'cli/ctl': {'cli'},
    'cli/replay': {'cli'},
    'cli/snapshot': {'cli'},
    'cli/jail': {'cli'},
    'cli/advise': {'cli'},
}

# A file that is above all of its room: it may use each of the folders above.
TOP = {'cli/main'}
