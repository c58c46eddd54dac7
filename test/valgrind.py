# SPDX-License-Identifier: Apache-2.0
"""Runs the core's tests under valgrind, and tells whether any left memory or descriptors.

Run as: valgrind.py <build folder>. valgrind's exit code says nothing of descriptors, so its logs
are read. A process that was ended by a signal may leave what it likes, and so may the child of
a death test, which is told by the pipe to its parent.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

VALGRIND = ('valgrind --quiet --leak-check=full --error-exitcode=9 --track-fds=yes '
            "'--log-file={}/%p.log'")
PREFIX = re.compile(r'^==\d+== ?', re.MULTILINE)
# What valgrind tells of descriptors: the count, or one and where it was opened.
COUNT = re.compile(r'FILE DESCRIPTORS: \d+ open')
OPEN = re.compile(r'Open (?:file descriptor|\w+ socket) \d+')
INHERITED = '<inherited from parent>'
EXEMPT = ('Process terminating with default action of signal', 'DeathTest::AssumeRole()')


def findings(log):
    """The blocks of a log that tell of something wrong, with the frames below them."""
    text = PREFIX.sub('', log)
    if any(mark in text for mark in EXEMPT):
        return []
    blocks = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if line.startswith(' ') and blocks:
            blocks[-1] += '\n' + line
        else:
            blocks.append(line)
    return [block for block in blocks
            if not COUNT.match(block) and not (OPEN.match(block) and INHERITED in block)]


def run_tests(build, logs):
    """Whether they pass. Without the runner's processes: valgrind has to see the cases."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    command = ['meson', 'test', '-C', str(build), '--print-errorlogs', '--timeout-multiplier=30',
               '--wrap=' + VALGRIND.format(logs), '--suite=core']
    return subprocess.run(command, check=False,
                          env={**os.environ, 'ALERTPIPE_DIRECT': '1'}).returncode == 0


def report(folder):
    """Prints what is wrong; returns whether nothing is."""
    logs = sorted(folder.glob('*.log'))
    bad = 0
    for log in logs:
        for block in findings(log.read_text(encoding='utf-8', errors='replace')):
            bad += 1
            print(f'{log.name}: {block}')
    print(f'valgrind: {len(logs)} processes, {bad} findings')
    return bool(logs) and bad == 0


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    passed = run_tests(build, build / 'valgrind')
    sys.exit(not (report(build / 'valgrind') and passed))


if __name__ == '__main__':
    main()
