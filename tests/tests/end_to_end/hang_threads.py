"""Stops the threads of a process whose name begins so, by ptrace, until a line comes in: python3 … PID NAME"""
import ctypes
import pathlib
import sys

SEIZE, INTERRUPT, DETACH, WAIT_FOR_THREADS = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")


threads = [
    int(task.name)
    for task in pathlib.Path(f"/proc/{sys.argv[1]}/task").iterdir()
    if (task / "comm").read_text().startswith(sys.argv[2])
]
for thread in threads:
    ptrace(SEIZE, thread)
    ptrace(INTERRUPT, thread)
    libc.waitpid(thread, None, WAIT_FOR_THREADS)
print("stopped" if threads else "no such thread", len(threads), flush=True)
sys.stdin.readline()
for thread in threads:
    ptrace(DETACH, thread)
