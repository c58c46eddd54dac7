# SPDX-License-Identifier: Apache-2.0
"""Runs the whole of the fault injection; prints how many runs there were, by scenario and call.

Run as: faults.py <build folder> [option of the test program...].
"""

import collections
import os
import pathlib
import subprocess
import sys


def run(build, table, options):
    """Whether all tests pass."""
    table.unlink(missing_ok=True)
    jobs = os.environ.get('ALERTPIPE_JOBS') or str(len(os.sched_getaffinity(0)))
    environment = {**os.environ, 'ALERTPIPE_FAULTS': 'all', 'ALERTPIPE_FAULTS_TABLE': str(table),
                   'ALERTPIPE_JOBS': jobs}
    return subprocess.run([build / 'test' / 'faults_injected_test', *options], check=False,
                          env=environment).returncode == 0


def read(path):
    """What injected_test.cc wrote: lines of scenario, call, side, runs in which the call failed,
    and runs in which it was not made that often."""
    rows = []
    with open(path, encoding='utf-8') as file:
        for line in file:
            scenario, call, side, failed, not_made = line.rstrip('\n').split('\t')
            rows.append((scenario, call, side, int(failed), int(not_made)))
    return rows


def sums(rows, key):
    """By rows[key]: runs in the master and in workers."""
    result = collections.defaultdict(lambda: [0, 0])
    for row in rows:
        result[row[key]][row[2] == 'worker'] += row[3]
    return result


def show(title, result):
    print(f'\n{title:28} {"master":>8} {"workers":>8} {"all":>8}')
    for name, (master, workers) in result.items():
        print(f'{name:28} {master:8} {workers:8} {master + workers:8}')


def report(rows):
    """Prints the table; returns whether there is anything in it."""
    print('Runs in which one call failed: master+workers, by scenario and call')
    for scenario in dict.fromkeys(row[0] for row in rows):
        cells = sums([row for row in rows if row[0] == scenario], 1)
        print(f'{scenario}: ' +
              ', '.join(f'{call} {master}+{workers}' for call, (master, workers) in cells.items()))
    show('by scenario', sums(rows, 0))
    show('by call', sums(sorted(rows, key=lambda row: row[1]), 1))
    total = sum(row[3] for row in rows)
    not_made = sum(row[4] for row in rows)
    print(f'\n{total} runs in which a call failed; {not_made} more in which it was not made that '
          'often, which depends on timing')
    return total > 0


def main(build, *options):
    build = pathlib.Path(build)
    table = build / 'faults.tsv'
    passed = run(build, table, options)
    return 0 if report(read(table)) and passed else 1


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
