#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every function that is given a VM is in the tests by table: sentences, callbacks, states, and children of
fork(2).

Usage: covered.py SENTENCES CALLBACKS STATES FORK HEADER...
"""
import re
import sys

# The functions that cannot fail by themselves, or only in a callback or a state, which the other tables have.
NO_SENTENCE = {'catnap_vm_stop', 'catnap_vm_request_stop', 'catnap_vm_destroy',
               'catnap_vm_request_destroy', 'catnap_vm_request_pause', 'catnap_vm_get_fd',
               'catnap_vm_get_stopping_fd', 'catnap_vm_get_paused_fd', 'catnap_vm_get_event_fd',
               'catnap_vm_get_state', 'catnap_vm_get_name', 'catnap_vm_get_vcpu_count',
               'catnap_vm_get_device_tree', 'catnap_vm_memory_fault', 'catnap_vm_serial_input', 'catnap_vm_console_input'}


def main():
    tables, headers = sys.argv[1:5], sys.argv[5:]
    text = ''
    for header in headers:
        with open(header, encoding='utf-8') as f:
            text += re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    calls = set(re.findall(r'\b(catnap_vm_\w+)\(\s*(?:const )?struct catnap_vm \*', text))
    missing = 0
    for path in tables:
        with open(path, encoding='utf-8') as f:
            used = set(re.findall(r'\b(catnap_vm_\w+)\(', f.read()))
        for name in sorted(calls - used):
            if 'sentences' in path and name in NO_SENTENCE:
                continue
            print(f'{path}: lacks {name}')
            missing += 1
    print(len(calls), 'functions')
    return 1 if missing or len(calls) < 30 else 0


if __name__ == '__main__':
    sys.exit(main())
