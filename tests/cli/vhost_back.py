#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A vhost-user disk in Python, for the tests of the front end: one that serves, or does one thing wrong at one step.

    vhost_back.py SOCKET IMAGE [fault=NAME] [at=N] [entropy=1]

With entropy=1 it is a source of entropy: it fills each buffer.
"""

import array
import mmap
import os
import select
import socket
import struct
import sys
import time

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM, NUM, ADDR, BASE, GET_BASE = 1, 2, 3, 5, 8, 9, 10, 11
KICK, CALL, GET_PROTOCOL, SET_PROTOCOL, QUEUES, ENABLE, CHANNEL, GET_CONFIG, SET_CONFIG = 12, 13, 15, 16, 17, 18, 21, 24, 25
# FLUSH, VERSION_1 and what says that there are protocol features; MQ, REPLY_ACK, CONFIG.
FEATURES = 1 << 32 | 1 << 30 | 1 << 9
PROTOCOL = 1 << 0 | 1 << 3 | 1 << 9
IN, OUT, FLUSH = 0, 1, 4
FAULTS = ("close", "silent", "late", "other", "no-reply", "version", "short", "long", "huge", "cut", "refuse", "fd", "fds", "talk",
          "ones", "used", "flood")


class Back:
    def __init__(self, connection, image, fault, at, entropy):
        self.connection, self.image, self.fault, self.at, self.entropy = connection, image, fault, at, entropy
        self.messages = 0
        self.queues = {}
        self.regions = []

    def fault_now(self):
        return self.fault if self.messages == self.at else ""

    def answer(self, request, payload):
        fault, flags, size, fds = self.fault_now(), 5, len(payload), []
        if fault == "close":
            sys.exit(0)
        if fault == "silent":
            time.sleep(3600)
        if fault == "late":
            time.sleep(6)
        if fault == "other":
            request += 1
        if fault == "no-reply":
            flags = 1
        if fault == "version":
            flags = 6
        if fault == "short":
            payload, size = payload[:-4], size - 4
        if fault == "long":
            payload, size = payload + bytes(8), size + 8
        if fault == "huge":
            size = 0xffffffff
        if fault == "refuse":
            payload = struct.pack("<Q", 7) + payload[8:]
        if fault == "ones":
            payload = b"\xff" * len(payload)
        if fault in ("fd", "fds"):
            fds = [0] * (1 if fault == "fd" else 200)
        data = struct.pack("<III", request, flags, size) + payload
        if fault == "cut":
            data = data[:6]
        if fault == "talk":
            data += b"\x01\0\0\0\x05\0\0\0\x08\0\0\0" * 3
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.connection.sendmsg([data], anc)
        if fault == "cut":
            time.sleep(3600)

    def map(self, payload, fds):
        (n,) = struct.unpack_from("<I", payload)
        for i in range(n):
            gpa, size, user, offset = struct.unpack_from("<QQQQ", payload, 8 + 32 * i)
            self.regions.append((gpa, user, size, mmap.mmap(fds[i], size, offset=offset)))
            os.close(fds[i])

    def find(self, address, length, guest=True):
        for gpa, user, size, memory in self.regions:
            base = gpa if guest else user
            if base <= address and address + length <= base + size:
                return memory, address - base
        raise ValueError(f"{address:#x} is no memory")

    def read(self, address, length, guest=True):
        memory, at = self.find(address, length, guest)
        return memory[at:at + length]

    def write(self, address, data, guest=True):
        memory, at = self.find(address, len(data), guest)
        memory[at:at + len(data)] = data

    def obey(self, request, flags, payload, fds):
        index, value = struct.unpack_from("<II", payload) if len(payload) >= 8 else (0, 0)
        q = self.queues.setdefault(index & 0xff, {})
        if request in (GET_FEATURES, GET_PROTOCOL, QUEUES):
            return self.answer(request, struct.pack("<Q", {GET_FEATURES: FEATURES, GET_PROTOCOL: PROTOCOL, QUEUES: 8}[request]))
        if request == GET_CONFIG:
            length = struct.unpack_from("<I", payload, 4)[0]
            config = struct.pack("<QII", os.path.getsize(self.image.name) // 512, 0, 126).ljust(length, b"\0")
            return self.answer(request, payload[:12] + config)
        if request == GET_BASE:
            q["started"] = False
            return self.answer(request, struct.pack("<II", index, q.get("next", 0)))
        if request == SET_MEM:
            self.map(payload, fds)
        elif request == NUM:
            q["size"] = value
        elif request == BASE:
            q["next"] = q["done"] = value
        elif request == ADDR:
            q["desc"], q["used"], q["avail"] = struct.unpack_from("<QQQ", payload, 8)
        elif request in (KICK, CALL):
            q[request] = fds[0]
            if request == KICK:
                q["started"] = True
        elif request == ENABLE:
            q["enabled"] = value
        else:
            for fd in fds:
                os.close(fd)
        if flags & 8:
            self.answer(request, bytes(8))
        return None

    def chain(self, q, head):
        while True:
            address, length, flags, following = struct.unpack("<QIHH", self.read(q["desc"] + 16 * head, 16, False))
            yield address, length, flags & 2
            if not flags & 1:
                return
            head = following

    def fill(self, q, head):
        written = 0
        for address, length, _ in self.chain(q, head):
            self.write(address, os.urandom(length))
            written += length
        self.give_back(q, head, written)

    def request(self, q, head):
        buffers = list(self.chain(q, head))
        kind, _, sector = struct.unpack("<IIQ", self.read(buffers[0][0], 16))
        status, written = 0, 1
        for address, length, _ in buffers[1:-1]:
            if kind == IN:
                self.image.seek(sector * 512)
                self.write(address, self.image.read(length).ljust(length, b"\0"))
                written += length
            elif kind == OUT:
                self.image.seek(sector * 512)
                self.image.write(self.read(address, length))
            sector += length // 512
        if kind == FLUSH:
            os.fdatasync(self.image.fileno())
        elif kind not in (IN, OUT):
            status = 2
        self.write(buffers[-1][0], bytes([status]))
        if self.fault == "used": # an index that is ahead, and entries of nothing
            written, head = 0xffffffff, 0xffff
        self.give_back(q, head, written)

    def give_back(self, q, head, written):
        self.write(q["used"] + 4 + 8 * (q["done"] % q["size"]), struct.pack("<II", head, written), False)
        q["done"] = (q["done"] + 1) & 0xffff
        self.write(q["used"] + 2, struct.pack("<H", q["done"]), False)

    def serve(self, q):
        if not (q.get("started") and q.get("enabled")):
            return
        while struct.unpack("<H", self.read(q["avail"] + 2, 2, False))[0] != q["next"]:
            (head,) = struct.unpack("<H", self.read(q["avail"] + 4 + 2 * (q["next"] % q["size"]), 2, False))
            q["next"] = (q["next"] + 1) & 0xffff
            if self.entropy:
                self.fill(q, head)
            else:
                self.request(q, head)
        os.write(q[CALL], struct.pack("<Q", 1))
        while self.fault == "flood":
            os.write(q[CALL], struct.pack("<Q", 1))

    def run(self):
        while True:
            kicks = {q[KICK]: q for q in self.queues.values() if KICK in q}
            ready, _, _ = select.select([self.connection, *kicks], [], [])
            for fd in ready:
                if fd in kicks:
                    os.read(fd, 8)
                    self.serve(kicks[fd])
            if self.connection not in ready:
                continue
            head, fds, _, _ = socket.recv_fds(self.connection, 12, 8)
            if len(head) < 12:
                return
            request, flags, size = struct.unpack("<III", head)
            self.messages += 1
            self.obey(request, flags, self.connection.recv(size, socket.MSG_WAITALL) if size else b"", fds)


def main():
    path, image, *rest = sys.argv[1:]
    options = dict(o.split("=") for o in rest)
    with socket.socket(socket.AF_UNIX) as listener, open(image, "r+b", buffering=0) as f:
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path + ".new")
        listener.listen(4)
        os.rename(path + ".new", path)
        while True:
            connection, _ = listener.accept()
            Back(connection, f, options.get("fault", ""), int(options.get("at", 0)), "entropy" in options).run()
            connection.close()


main()
