# SPDX-License-Identifier: Apache-2.0
"""Whether any process that ran under valgrind has left memory or descriptors.

Run as: valgrind_report.py <folder of logs>, written with --quiet --track-fds=yes --log-file.
valgrind's exit code says nothing of descriptors. A process that was ended by a signal may leave what
it likes, and so may the child of a death test, which is told by the pipe to its parent.
"""

import pathlib
import re
import sys

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


def main():
    logs = sorted(pathlib.Path(sys.argv[1]).glob('*.log'))
    bad = 0
    for log in logs:
        for block in findings(log.read_text(encoding='utf-8', errors='replace')):
            bad += 1
            print(f'{log.name}: {block}')
    print(f'valgrind: {len(logs)} processes, {bad} findings')
    sys.exit(bad > 0 or not logs)


if __name__ == '__main__':
    main()
