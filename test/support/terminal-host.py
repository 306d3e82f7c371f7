"""A host's end of a program with a terminal: what a peer does for `terminal`, with the program's stops told.

terminal-host.py ROWS COLUMNS PROGRAM ARGV0 [ARG...]; descriptors 0 and 1 are the keys and the screen, on 3 come lines
`signal N` and `size ROWS COLUMNS`, on 4 go `stopped N`, `code N` and `signal N`. It has to lead a session: the program
is in a group of its own in it, so that the terminal can stop it.
"""
import fcntl, os, select, signal, struct, sys, termios

rows, columns, program, *argv = sys.argv[1:]
master, slave = os.openpty()


def resize(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


resize(rows, columns)
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(slave, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    for number in range(3):
        os.dup2(slave, number)
    os.closerange(3, 100)
    os.execv(program, argv)
os.close(slave)
wake, woken = os.pipe()
os.set_blocking(woken, False)
signal.set_wakeup_fd(woken)
signal.signal(signal.SIGCHLD, lambda *_: None)


def tell(line):
    os.write(4, f"{line}\n".encode())


ended = None
sources = [0, master, 3, wake]
commands = b""
while True:
    # Its last output is taken after its end.
    done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED) if ended is None else (0, 0)
    if done and os.WIFSTOPPED(status):
        tell(f"stopped {os.WSTOPSIG(status)}")
    elif done:
        ended = f"code {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
    ready = select.select(sources, [], [], 0 if done else None)[0]
    if master in ready:
        try:
            os.write(1, os.read(master, 65536))
        except OSError:
            break
    if 0 in ready:
        keys = os.read(0, 4096)
        if keys:
            os.write(master, keys)
        else:
            sources.remove(0)
    if 3 in ready:
        more = os.read(3, 4096)
        if not more:
            os.killpg(pid, signal.SIGKILL)
            break
        *lines, commands = (commands + more).split(b"\n")
        for line in lines:
            name, *numbers = line.decode().split()
            if name == "size":
                resize(*numbers)
            elif ended is None:
                os.killpg(pid, int(numbers[0]))
    if wake in ready:
        os.read(wake, 100)
if ended is None:
    status = os.waitpid(pid, 0)[1]
    ended = f"code {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
os.close(1)
tell(ended)
