# SPDX-License-Identifier: Apache-2.0
"""Servers on a Unix socket for the tests of what speaks to one: a tame one, and some that are not."""

import contextlib
import json
import socket
import threading
import time


class Answer:
    def __init__(self, body=None, status=200, kind="application/json"):
        self.body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.status, self.kind = status, kind

    def data(self):
        head = f"HTTP/1.1 {self.status} X\r\nServer: test\r\n"
        if self.body is None:
            return (head + "\r\n").encode()
        return f"{head}Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body


class Server:
    """Answers by a table, (method, path) -> Answer or a function of the body that returns one; notes what was asked."""

    def __init__(self, path, answers):
        self.answers, self.asked = answers, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)
        self.open = set()
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                c = self.socket.accept()[0]
            except OSError:
                return
            self.open.add(c)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        with contextlib.suppress(OSError), c.makefile("rb") as f:
            while True:
                line = f.readline().decode().split()
                if not line:
                    break
                length = 0
                while (head := f.readline().decode().strip()):
                    name, _, value = head.partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                body = f.read(length)
                c.sendall(self.answer(line[0], line[1], body))
        self.open.discard(c)
        c.close()

    def answer(self, method, path, body):
        self.asked.append((method, path, json.loads(body) if body else None))
        found = self.answers.get((method, path))
        if callable(found):
            found = found(body)
        if found is None:
            found = Answer({"fault_message": f"no such thing: {method} {path}"}, 400)
        return found.data()

    def close(self):
        """Ends it as a process ends: nobody listens any more, and nothing is answered."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for c in list(self.open):
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)


class Raw:
    """Sends each client @data, again and again if @endless, and then does nothing, or hangs up."""

    def __init__(self, path, data, endless=False, hang_up=False, pause=0.0):
        self.data, self.endless, self.hang_up, self.pause = data, endless, hang_up, pause
        self.done = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                c = self.socket.accept()[0]
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=(c,), daemon=True))
            self.threads[-1].start()

    def serve(self, c):
        with c, contextlib.suppress(OSError):
            c.recv(65536)
            head, _, rest = self.data.partition(b"|")
            c.sendall(head)
            while self.endless and not self.done.is_set():
                c.sendall(rest)
                time.sleep(self.pause)
            if not self.hang_up:
                self.done.wait(60)

    def close(self):
        self.done.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for t in self.threads:
            t.join(10)
