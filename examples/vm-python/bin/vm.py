#!/usr/bin/env python3
"""A VM of cosmos that runs Python programs: all of docs/vm-protocol.md in one file without a library.

The process has its interpreter warm and forks for each program, so a program that crashes hurts only itself.
It serves any number of sessions: one loop waits for sockets, for children, and for the daemon's end.
"""

import errno
import fcntl
import math
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
import types

LIFE_FD = 0
LISTEN_FD = 3
MAX_FRAME = 16 * 1024 * 1024
MAX_DEPTH = 16
MAX_DESCRIPTORS = 253
GRACE = 1.0  # seconds between SIGHUP and SIGKILL for a program whose client is gone


class ProtocolError(Exception):
    """What came is no message."""


def pack(value):
    """msgpack of a value that is sent."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if 0 <= value <= 0x7F else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode("utf-8", "replace")
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    pairs = b"".join(pack(key) + pack(item) for key, item in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + pairs


class Unpacker:
    """One msgpack value from bytes."""

    SCALARS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    SCALARS.update({0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"})
    CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
    SIZES = {1: ">B", 2: ">H", 4: ">I"}

    def __init__(self, data):
        self.data = data
        self.at = 0

    def message(self):
        value = self.value(0)
        if self.at != len(self.data) or not isinstance(value, dict):
            raise ProtocolError("a frame is not one map")
        return value

    def value(self, depth):
        if depth > MAX_DEPTH:
            raise ProtocolError("values lie too deep")
        tag = self.take(1)[0]
        if tag <= 0x7F or tag >= 0xE0:
            return tag if tag <= 0x7F else tag - 256
        if tag <= 0x8F:
            return self.map(tag & 15, depth)
        if tag <= 0x9F:
            return [self.value(depth + 1) for _ in range(tag & 15)]
        if tag <= 0xBF:
            return self.take(tag & 31).decode()
        if tag in self.CONSTANTS:
            return self.CONSTANTS[tag]
        if tag in self.SCALARS:
            return self.number(self.SCALARS[tag])
        if 0xC4 <= tag <= 0xC6:
            return self.take(self.size(1 << (tag - 0xC4)))
        if 0xD9 <= tag <= 0xDB:
            return self.take(self.size(1 << (tag - 0xD9))).decode()
        if tag in (0xDC, 0xDD):
            return [self.value(depth + 1) for _ in range(self.size(2 if tag == 0xDC else 4))]
        if tag in (0xDE, 0xDF):
            return self.map(self.size(2 if tag == 0xDE else 4), depth)
        raise ProtocolError(f"type 0x{tag:x} is not of this protocol")

    def map(self, count, depth):
        pairs = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise ProtocolError("a key is not a string")
            pairs[key] = self.value(depth + 1)
        return pairs

    def size(self, width):
        return self.number(self.SIZES[width])

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def take(self, count):
        if self.at + count > len(self.data):
            raise ProtocolError("a message is cut short")
        self.at += count
        return self.data[self.at - count : self.at]


def system(value):
    """A text of a message as this system's own calls take it: what is not UTF-8 comes as bytes."""
    return os.fsdecode(value) if isinstance(value, (str, bytes)) else None


def set_limit(kind, soft, hard):
    """setrlimit(2); a hard limit that is above this process's own is not to be had. Unlimited comes as 2^64 - 1."""

    def number(value):
        return value if 0 <= value < 1 << 63 else math.inf

    most = min(number(hard), number(resource.getrlimit(kind)[1]))
    wanted = (min(number(soft), most), most)
    resource.setrlimit(kind, tuple(resource.RLIM_INFINITY if value == math.inf else value for value in wanted))


class Failure(Exception):
    """An error that is the answer to a request."""

    def __init__(self, code, subject, why):
        super().__init__(why)
        self.fields = {"code": code, "subject": subject, "message": f"{subject}: {why}"}


class Program:
    """What `exec` asks for. Prepared in the VM, where errors are answers; run in the child."""

    def __init__(self, args, files):
        try:
            self.route = args["route"]
            self.payload = system(self.route["payload"])
            self.argv = [system(text) for text in args["argv"]]
            self.env = [os.fsencode(text) for text in args["env"]]
            self.cwd = system(args["cwd"])
            self.umask = int(args["umask"])
            self.limits = [tuple(map(int, limit)) for limit in args.get("limits") or []]
            self.numbers = [int(number) for number in args["descriptors"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Failure("EPROTO", "exec", f"arguments that are none: {error!r}") from error
        if len(files) != len(self.numbers):
            raise Failure("EBADF", "exec", f"{len(self.numbers)} descriptors are announced, {len(files)} came")
        self.files = files
        try:
            with open(self.payload, "rb") as file:
                self.source = file.read()
        except (OSError, ValueError, TypeError) as error:
            code = errno.errorcode.get(getattr(error, "errno", None) or errno.EINVAL, "EIO")
            raise Failure(code, str(self.payload), str(error)) from error

    def prepare(self):
        """Makes this process, a child, that of the program."""
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Out of the way of the numbers that they are to have; everything else is closed.
        above = max([2, *self.numbers]) + 1
        files = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in self.files]
        for number, file in zip(self.numbers, files):
            os.dup2(file, number)
        for number in {int(name) for name in os.listdir("/dev/fd")}.difference(self.numbers):
            close(number)
        os.umask(self.umask)
        os.environb.clear()
        os.environb.update(entry.split(b"=", 1) for entry in self.env if b"=" in entry[1:])
        for kind, soft, hard in self.limits:
            set_limit(kind, soft, hard)
        limits = self.route.get("limits") or {}
        if limits.get("memory"):
            set_limit(resource.RLIMIT_AS, int(limits["memory"]), int(limits["memory"]))
        if limits.get("seconds"):
            signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
        sys.stdin, sys.stdout, sys.stderr = stream(0, "r"), stream(1, "w"), stream(2, "w")
        os.chdir(self.cwd)

    def run(self):
        """Runs it as the interpreter runs a file. What it raises is the interpreter's business."""
        sys.excepthook = show_error
        self.prepare()
        sys.argv = self.argv or [self.payload]
        sys.path[0] = os.path.dirname(os.path.abspath(self.payload))
        main = types.ModuleType("__main__")
        main.__file__ = self.payload
        sys.modules["__main__"] = main
        exec(compile(self.source, self.payload, "exec"), main.__dict__)


def close(number):
    """close(2) of what may be closed already."""
    try:
        os.close(number)
    except OSError:
        pass


def close_all(numbers):
    for number in numbers:
        close(number)


def stream(number, mode):
    """A standard stream as the interpreter makes it at its start; None where there is no such file."""
    try:
        os.fstat(number)
    except OSError:
        return None
    lines = number == 2 or (mode == "w" and os.isatty(number))
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    return open(number, mode, buffering=1 if lines else -1, errors=errors, closefd=False)


def show_error(kind, error, frames):
    """The program's own frames only."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    traceback.print_exception(kind, error, frames)


class Session:
    """One client: of any number of programs, one after the other or at once."""

    def __init__(self, vm, connection):
        self.vm = vm
        self.connection = connection
        self.data = bytearray()
        self.files = []
        self.programs = {}  # process id by request
        self.greeted = False
        self.send({"version": 1, "vm": os.environ.get("COSMOS_VM", "python"), "pid": os.getpid()})

    def send(self, message):
        payload = pack(message)
        try:
            self.connection.sendall(struct.pack(">I", len(payload)) + payload)
        except OSError:
            pass  # its end is heard by reading

    def read(self):
        """Takes what has come. False at the end of the session."""
        try:
            data, files, _, _ = socket.recv_fds(self.connection, 1 << 18, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        self.files += files
        self.data += data
        try:
            while (message := self.next()) is not None:
                self.handle(message)
        except (ProtocolError, UnicodeDecodeError) as error:
            self.send({"id": 0, "error": Failure("EPROTO", "message", str(error)).fields})
            return False
        return bool(data)

    def next(self):
        """The next whole message."""
        if len(self.data) < 4:
            return None
        size = struct.unpack_from(">I", self.data)[0]
        if not 0 < size <= MAX_FRAME:
            raise ProtocolError(f"a frame of {size} bytes")
        if len(self.data) < 4 + size:
            return None
        payload = bytes(self.data[4 : 4 + size])
        del self.data[: 4 + size]
        return Unpacker(payload).message()

    def handle(self, message):
        if not self.greeted:
            if message.get("version") != 1:
                raise ProtocolError("version 1 is spoken here")
            self.greeted = True
            return
        request = message.get("id")
        if isinstance(message.get("signal"), int):
            self.signal(self.programs.get(request), message["signal"], message.get("group"))
        elif not isinstance(request, int):
            raise ProtocolError("neither a request nor a signal")
        else:
            try:
                args = message.get("args")
                self.answer(request, message.get("op"), args if isinstance(args, dict) else {})
            except Failure as failure:
                self.send({"id": request, "error": failure.fields})

    def answer(self, request, operation, args):
        if operation == "exec":
            self.execute(request, args)
        elif operation == "accepts":
            kind = (args.get("profile") or {}).get("kind")
            accepts = kind in (None, "program")
            reason = {} if accepts else {"reason": f"it is of kind {kind}, not a program"}
            self.send({"id": request, "ok": {"accepts": accepts, **reason}})
        elif operation == "stats":
            self.send({"id": request, "ok": self.vm.stats()})
        else:
            raise Failure("ENOSYS", str(operation), "this VM has no such operation")

    def execute(self, request, args):
        count = len(args.get("descriptors") or [])
        files, self.files = self.files[:count], self.files[count:]
        try:
            if request in self.programs:
                raise Failure("EPROTO", "exec", f"id {request} is in use")
            child = self.vm.fork(Program(args, files), self, request)
        except Failure:
            close_all(files)
            raise
        close_all(files)
        self.programs[request] = child
        self.send({"id": request, "started": {"pid": child}})

    def signal(self, child, number, group):
        if child is None:
            return  # it has ended meanwhile
        try:
            (os.killpg if group else os.kill)(child, number)
        except (OSError, ValueError):
            pass  # as kill(1) of what has just ended, or of no signal

    def close(self):
        close_all(self.files)
        self.connection.close()


class Child(BaseException):
    """Leaves the loop in a child, whatever stands around it."""

    def __init__(self, program):
        super().__init__()
        self.program = program


class Vm:
    """The process."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(fileno=LISTEN_FD)
        self.listener.setblocking(False)
        self.woken, self.waker = socket.socketpair()
        self.sessions = set()
        self.children = {}  # (session, request) by process id
        self.dying = {}  # when those whose client is gone are killed
        self.counts = {"sessions": 0, "runs": 0}

    def stats(self):
        return {**self.counts, "running": len(self.children)}

    def serve(self):
        """Serves until the daemon is gone. Raises Child in a child."""
        self.woken.setblocking(False)
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno())
        self.selector.register(LIFE_FD, selectors.EVENT_READ)
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(self.woken, selectors.EVENT_READ, self.reap)
        while True:
            for key, _ in self.selector.select(self.next_kill()):
                if key.fd == LIFE_FD:
                    return self.end()
                key.data()
            self.kill_dying()

    def accept(self):
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return  # another process has taken it
        connection.setblocking(True)
        self.counts["sessions"] += 1
        session = Session(self, connection)
        self.sessions.add(session)
        self.selector.register(connection, selectors.EVENT_READ, lambda: session.read() or self.leave(session))

    def leave(self, session):
        self.selector.unregister(session.connection)
        self.sessions.remove(session)
        session.close()
        for child in session.programs.values():
            self.kill(child, signal.SIGHUP)
            self.kill(child, signal.SIGCONT)
            self.dying[child] = time.monotonic() + GRACE

    def fork(self, program, session, request):
        try:
            child = os.fork()
        except OSError as error:
            raise Failure(errno.errorcode[error.errno], "fork", os.strerror(error.errno)) from error
        if child == 0:
            self.forget()
            raise Child(program)
        try:
            os.setpgid(child, child)  # here too, so that a signal that comes at once finds its group
        except OSError:
            pass  # the child was faster
        self.counts["runs"] += 1
        self.children[child] = (session, request)
        return child

    def forget(self):
        """Closes in a child what is the VM's, so that no object of it closes another file of that number later."""
        signal.set_wakeup_fd(-1)
        self.selector.close()
        for end in [self.listener, self.woken, self.waker, *(session.connection for session in self.sessions)]:
            end.close()

    def reap(self):
        """Tells what has become of children."""
        try:
            self.woken.recv(4096)
        except BlockingIOError:
            pass
        while self.children:
            child, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if child == 0:
                return
            session, request = self.children[child]
            if os.WIFSTOPPED(status):
                session.send({"id": request, "stopped": os.WSTOPSIG(status)})
                continue
            if os.WIFSIGNALED(status):
                end = {"signal": os.WTERMSIG(status), "core": os.WCOREDUMP(status)}
            else:
                end = {"code": os.WEXITSTATUS(status)}
            del self.children[child], session.programs[request]
            self.dying.pop(child, None)
            session.send({"id": request, "exit": end})

    def kill(self, child, number):
        try:
            os.killpg(child, number)
        except ProcessLookupError:
            pass  # it has ended

    def next_kill(self):
        return max(0, min(self.dying.values()) - time.monotonic()) if self.dying else None

    def kill_dying(self):
        now = time.monotonic()
        for child in [child for child, when in self.dying.items() if when <= now]:
            self.kill(child, signal.SIGKILL)
            del self.dying[child]

    def end(self):
        for child in self.children:
            self.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    try:
        Vm().serve()
        sys.exit(0)
    except Child as child:
        program = child.program
    # Out here no frame or handler of the VM is left, so the program ends as one of its own interpreter does.
    program.run()
