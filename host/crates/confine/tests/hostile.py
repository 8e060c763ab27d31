"""A program that tries to reach what it must not: run by `tests/confined.rs`, with the address of a port that the test listens on, a file that the
test planted, its Unix socket, and a process of its own. Writes one line for each attempt: its name, and `reached` or the refusal."""
import ctypes
import os
import socket
import subprocess
import sys
import time

port, secret, plant, unix, victim, abstract = sys.argv[1:7]


def attempt(name, act):
    try:
        act()
        print(name, "reached", flush=True)
    except BaseException as error:
        print(name, "refused", type(error).__name__, flush=True)


def connect():
    socket.create_connection(("127.0.0.1", int(port)), timeout=2).close()


def by_unix(address):
    there = socket.socket(socket.AF_UNIX)
    there.connect(address)
    there.close()


def datagrams(kind=socket.SOCK_DGRAM):
    """The half of a pair reaches any socket by its path. The flags must not hide the kind."""
    there, _ = socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    there.sendto(b"mine", unix + "-datagrams")


def write(path):
    with open(path, "w") as file:
        file.write("mine")


def namespace():
    number = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
    if ctypes.CDLL(None, use_errno=True).syscall(number, 0x10000000) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def inherited():
    """The numbers of open files other than the standard ones."""
    there = []
    for number in range(3, 256):
        try:
            os.fstat(number)
            there.append(number)
        except OSError:
            pass
    if not there:
        raise OSError("none")


def read_input():
    if not sys.stdin.read(1):
        raise EOFError("nothing")


def forks():
    """As many as there may be; all sleep, so that they count."""
    for _ in range(1000):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)


attempt("own-folder", lambda: write("made"))
attempt("connect", connect)
attempt("name-service", lambda: socket.getaddrinfo("example.com", 80))
attempt("own-permissions", lambda: os.chmod("made", 0o700))
attempt("own-times", lambda: os.utime("made", (1, 1)))
attempt("permissions", lambda: os.chmod(secret, 0o4777))
attempt("owner", lambda: os.chown(secret, os.getuid(), os.getgid()))
attempt("times", lambda: os.utime(secret, (1, 1)))
attempt("attributes", lambda: os.setxattr(secret, "user.hospes", b"mine"))
attempt("datagrams", datagrams)
attempt("raw-datagrams", lambda: datagrams(socket.SOCK_RAW))
attempt("read", lambda: open(secret).read())
attempt("write", lambda: write(plant))
attempt("truncate", lambda: os.truncate(secret, 0))
attempt("remove", lambda: os.unlink(secret))
attempt("link", lambda: os.link(secret, "linked"))
attempt("list", lambda: os.listdir(os.path.dirname(secret)))
attempt("passwords", lambda: open("/etc/passwd").read())
attempt("memory", lambda: open(f"/proc/{victim}/environ").read())
attempt("own-process", lambda: open("/proc/self/environ").read())
attempt("kill", lambda: os.kill(int(victim), 9))
attempt("unix", lambda: by_unix(unix))
attempt("abstract", lambda: by_unix("\0" + abstract))
attempt("namespace", namespace)
attempt("privileges", lambda: os.setuid(0))
attempt("inherited", inherited)
attempt("variables", lambda: os.environ["HOSPES_TEST_SECRET"])
attempt("input", read_input)
attempt("program", lambda: subprocess.run(["/usr/bin/env"], check=True, capture_output=True))
attempt("many", forks)
