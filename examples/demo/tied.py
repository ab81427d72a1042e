"""Run a command that ends when its parent does, however the parent ends.

    python tied.py PARENT_PID COMMAND...

On Linux the kernel kills the command as soon as the thread that started it is gone. Elsewhere the
command merely runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); it outlives execve(2)


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it went before the tie was made
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
