#!/usr/bin/env python3
"""Prints what a cosmos daemon says of itself: a client of docs/protocol.md in plain Python.

    $ python3 examples/control-client.py
    $ python3 examples/control-client.py list ~/cosmos
"""

import hashlib
import os
import socket
import struct
import sys
import tempfile

MAX_FRAME = 16 * 1024 * 1024


def pack(value):
    """msgpack of a value that a client sends."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value <= 0x7F:
            return bytes([value])
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    pairs = b"".join(pack(key) + pack(item) for key, item in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + pairs


class Unpacker:
    """One msgpack value from bytes."""

    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    NUMBERS.update({0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"})
    # Forms with a length of their own: what it is, and the length's format.
    SIZED = {0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I")}
    SIZED.update({0xD9: ("str", ">B"), 0xDA: ("str", ">H"), 0xDB: ("str", ">I")})
    SIZED.update({0xDC: ("array", ">H"), 0xDD: ("array", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I")})

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("the message is cut short")
        self.at += size
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        kind = self.take(1)[0]
        if kind <= 0x7F:
            return kind
        if kind >= 0xE0:
            return kind - 256
        if kind <= 0x8F:
            return self.items("map", kind & 15)
        if kind <= 0x9F:
            return self.items("array", kind & 15)
        if kind <= 0xBF:
            return self.items("str", kind & 31)
        if kind in self.NUMBERS:
            return self.number(self.NUMBERS[kind])
        if kind in self.SIZED:
            what, form = self.SIZED[kind]
            return self.items(what, self.number(form))
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind]

    def items(self, what, count):
        if what == "str":
            return self.take(count).decode()
        if what == "bin":
            return self.take(count)
        if what == "array":
            return [self.value() for _ in range(count)]
        return {self.value(): self.value() for _ in range(count)}


def socket_path():
    """Where the daemon of this user's cosmos home listens."""
    home = os.path.realpath(os.environ.get("COSMOS_HOME") or os.path.expanduser("~/.cosm"))
    name = hashlib.sha256(home.encode()).hexdigest()[:12]
    uid = os.getuid()
    if os.environ.get("XDG_RUNTIME_DIR"):
        root = os.path.join(os.environ["XDG_RUNTIME_DIR"], "cosmos")
    elif uid == 0:
        root = "/var/run/cosmos"
    elif os.path.isdir(f"/run/user/{uid}"):
        root = f"/run/user/{uid}/cosmos"
    else:
        root = os.path.join(tempfile.gettempdir(), f"cosmos-{uid}")
    return os.path.join(root, name, "control")


class Client:
    """A connection to the daemon, one request at a time."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.send({"version": 1, "software": "control-client.py"})
        self.last_id = 0
        hello = self.receive()
        if "error" in hello:
            raise RuntimeError(hello["error"]["message"])
        if hello["version"] != 1:
            raise RuntimeError(f"the daemon speaks version {hello['version']}")

    def send(self, message):
        payload = pack(message)
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        (size,) = struct.unpack(">I", self.exactly(4))
        if not 0 < size <= MAX_FRAME:
            raise ValueError(f"a frame of {size} bytes")
        return Unpacker(self.exactly(size)).value()

    def exactly(self, size):
        parts = b""
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise EOFError("the daemon ended")
            parts += part
        return parts

    def ask(self, op, **args):
        """Yields the parts of an answer; one for an operation that does not stream."""
        self.last_id += 1
        self.send({"id": self.last_id, "op": op, "args": args})
        while True:
            answer = self.receive()
            if "error" in answer:
                error = answer["error"]
                hint = f" ({error['hint']})" if error.get("hint") else ""
                raise RuntimeError(error["message"] + hint)
            if "chunk" in answer:
                yield answer["chunk"]
                continue
            if "ok" in answer:
                yield answer["ok"]
            return


def main():
    client = Client(socket_path())
    if sys.argv[1:2] == ["list"]:
        path = sys.argv[2] if len(sys.argv) > 2 else "."
        for batch in client.ask("list", path=os.fsencode(path), cwd=os.fsencode(os.getcwd())):
            for entry in batch:
                print(entry["type"], entry["inode"], entry["name"])
        return
    (status,) = client.ask("status")
    print(f"daemon {status['pid']}, version {status['version']}, home {status['home']}")
    for mount in status["mounts"]:
        print(f"mount {mount['path']} ({mount['driver']})")


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        sys.exit(f"control-client.py: {error}")
