# SPDX-License-Identifier: Apache-2.0
"""Runs a program as an ordinary user who has used up the pages that the kernel grants for pipes.

Run as: past_the_page_limit.py <build folder> <program in it> [argument...]. The user is nobody, if
this is root. New pipes then hold one or two pages (pipe(7), pipe-user-pages-soft). Exits as the
program does.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

F_SETPIPE_SZ = 1031
F_GETPIPE_SZ = 1032
DEFAULT_CAPACITY = 65536
PIPES_MAX = 2000
NOBODY = 65534
STAT = 'tools/alertpipe-stat'


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


def copy_for_all(build, program, folder):
    """What the program needs of the build, at the same places, as nobody may not read there."""
    for path in (program, build / STAT, *build.glob('lib/libalertpipe.so*')):
        if path.is_file():
            copy = folder / path.relative_to(build)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            copy.chmod(0o755)
    for path in (folder, *folder.rglob('*/')):
        path.chmod(0o755)


def run(build, program, arguments):
    root = os.geteuid() == 0
    if root:
        # Pages count for the real user, and are granted without limit by effective capabilities.
        os.setresuid(NOBODY, NOBODY, 0)
    used_up = use_up()
    if root:
        os.setresuid(0, 0, 0)
    if not used_up:
        sys.exit('the page limit of pipes does not hold for this user')
    user = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []} if root else {}
    with tempfile.TemporaryDirectory(prefix='alertpipe_nobody_', dir='/tmp') as name:
        folder = pathlib.Path(name)
        copy_for_all(build, program, folder)
        environment = {**os.environ, 'TMPDIR': '/tmp'}
        if (folder / STAT).is_file():
            environment['ALERTPIPE_STAT'] = str(folder / STAT)
        command = [str(folder / program.relative_to(build)), *arguments]
        return subprocess.run(command, check=False, cwd='/', env=environment, **user).returncode


if __name__ == '__main__':
    sys.exit(run(*(pathlib.Path(path).resolve() for path in sys.argv[1:3]), sys.argv[3:]))
