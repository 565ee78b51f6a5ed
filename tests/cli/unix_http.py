# SPDX-License-Identifier: Apache-2.0
"""HTTP on a Unix socket, as the tests of what answers there speak it."""

import http.client
import socket


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
