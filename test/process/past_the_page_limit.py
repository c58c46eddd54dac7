# SPDX-License-Identifier: Apache-2.0
"""Runs a command while its user has used up the pages that the kernel grants for pipes.

Run as: past_the_page_limit.py <command> [argument...], as an ordinary user. New pipes then hold one
or two pages (pipe(7), pipe-user-pages-soft). Exits as the command does.
"""

import fcntl
import os
import subprocess
import sys

F_SETPIPE_SZ = 1031
F_GETPIPE_SZ = 1032
DEFAULT_CAPACITY = 65536
PIPES_MAX = 2000


def use_up():
    """Opens pipes until the kernel gives a new one less than the default."""
    for _ in range(PIPES_MAX):
        descriptor, _ = os.pipe()
        if fcntl.fcntl(descriptor, F_GETPIPE_SZ) < DEFAULT_CAPACITY:
            return True
        # The largest that the user may have, so that few descriptors are enough.
        for capacity in (1 << 20, 1 << 19, 1 << 18, 1 << 17):
            try:
                fcntl.fcntl(descriptor, F_SETPIPE_SZ, capacity)
                break
            except PermissionError:
                pass
    return False


if __name__ == '__main__':
    if not use_up():
        sys.exit('the page limit of pipes does not hold for this user')
    sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
