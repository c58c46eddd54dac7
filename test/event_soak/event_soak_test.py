# SPDX-License-Identifier: Apache-2.0
"""A short soak of events passes, and what it is there to find is found and called by its name.

Run as: event_soak_test.py <program event_soak>.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import unittest

VIOLATIONS = ('lost', 'duplicated', 'misdelivered', 'reordered', 'torn', 'invented', 'damaged',
              'hung', 'died', 'grown', 'broken')
# What the worker that is never killed does wrong (settings.h), the phase in which it shows, and the
# one violation that must be reported.
CANARIES = {
    'swap': ('order', 'reordered'),
    'lose': ('order', 'lost'),
    'duplicate': ('order', 'duplicated'),
    'gap': ('order', 'lost'),
    'unique': ('unique', 'duplicated'),
    'hang': ('order', 'hung'),
    'die': ('order', 'died'),
}


class EventSoakTest(unittest.TestCase):
    program = pathlib.Path()

    def soak(self, *options, canary=''):
        done = subprocess.run([str(self.program), '--json', *options], stdout=subprocess.PIPE,
                              text=True, stderr=subprocess.PIPE, check=False, timeout=280,
                              env={**os.environ, 'ALERTPIPE_SOAK_CANARY': canary})
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr

    def test_short(self):
        # How many gaps there are depends on how busy the machine is.
        code, figures, errors = self.soak('--events=80000', '--races=300', '--round=15000',
                                          '--seconds=200', '--gap-percent=100')
        self.assertEqual(0, code, errors)
        self.assertGreaterEqual(figures['events_order'], 80000)
        self.assertGreaterEqual(figures['events_speed'], 8000)
        self.assertEqual(300, figures['unique_keys'])
        # That there was something to be found.
        for name in ('kills', 'stops', 'ordered_gaps', 'coalesced', 'rounds_without_deaths',
                     'pairs_exact', 'log_entries', 'unique_kills'):
            self.assertGreater(figures[name], 0, name)

    def test_missed_target(self):
        code, figures, errors = self.soak('--events=100000000', '--seconds=1', '--phase=order',
                                          '--workers=3', '--round=5000')
        self.assertEqual(1, code)
        self.assertEqual({}, {name: figures[name] for name in VIOLATIONS if figures[name]})
        self.assertIn('the target is 100000000', errors)

    def run_canary(self, canary):
        # Small pipes, so that there are gaps; of what died with somebody nothing is missing.
        return self.soak(f'--phase={CANARIES[canary][0]}', '--seconds=20', '--races=50',
                         '--workers=5', '--publishers=4', '--round=6000', '--patience=4',
                         '--stall=4', '--capacity=4096',
                         f'--kill-ms={0 if CANARIES[canary][1] == "lost" else 80}', canary=canary)

    def test_canaries(self):
        # Most of the time goes into waiting for what will never come.
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            results = dict(zip(CANARIES, pool.map(self.run_canary, CANARIES)))
        for canary, (code, figures, errors) in results.items():
            with self.subTest(canary=canary):
                found = {name: figures[name] for name in VIOLATIONS if figures[name]}
                self.assertEqual({CANARIES[canary][1]: 1}, found, errors)
                self.assertEqual(1, code)


if __name__ == '__main__':
    EventSoakTest.program = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
