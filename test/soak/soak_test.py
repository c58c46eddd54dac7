# SPDX-License-Identifier: Apache-2.0
"""A short soak passes, and everything that a soak is there to find is found and called by its name.

Run as: soak_test.py <program soak>.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import unittest

import soak

# What a worker does wrong (canary_bird.h), the phase in which it shows, and the one violation that
# must be reported.
CANARIES = {
    'drop': ('stream', 'lost'),
    'forget': ('kill', 'lost'),
    'duplicate': ('stream', 'duplicated'),
    'misdeliver': ('stream', 'misdelivered'),
    'reorder': ('stream', 'reordered'),
    'corrupt': ('stream', 'torn'),
    'invent': ('stream', 'invented'),
    'late': ('kill', 'invented'),
    'hang': ('stream', 'hung'),
    'die': ('stream', 'died'),
    'leak': ('stream', 'grown'),
    'descriptor': ('stream', 'grown'),
    'hasty': ('replace', 'lost'),
}


class SoakTest(unittest.TestCase):
    program = pathlib.Path()

    def run_soak(self, *options, canary=''):
        done = subprocess.run([str(self.program), *options], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, check=False, timeout=300,
                              env={**os.environ, 'ALERTPIPE_SOAK_CANARY': canary})
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr

    def test_short(self):
        self.assertEqual(0, soak.main([f'--program={self.program}', '--kills=250', '--alerts=500000',
                                       '--replacements=50', '--seconds=200', '--round=1']))

    def test_targets(self):
        code, figures, errors = self.run_soak('--capacity=8192', '--kills=40', '--alerts=50000',
                                              '--replacements=20', '--seconds=100', '--round=0.5')
        self.assertEqual(0, code, errors)
        self.assertGreaterEqual(figures['kills'], 40)
        self.assertGreaterEqual(figures['lived_alerts'], 50000)
        self.assertGreaterEqual(figures['replacements'], 20)
        self.assertGreater(figures['kills_nonempty'], 0)
        self.assertGreater(figures['kills_half'], 0)
        self.assertLess(figures['seconds'], 100)

    def run_canary(self, canary):
        seconds = 5 * float(os.environ.get('ALERTPIPE_TIME_SCALE', '1'))
        # Who leaves too early need not have anything on its way.
        for seed in range(1, 9 if canary == 'hasty' else 2):
            result = self.run_soak(f'--phase={CANARIES[canary][0]}', f'--seconds={seconds}',
                                   f'--seed={seed}', '--round=0.2', '--patience=5', canary=canary)
            if result[0] != 0:
                break
        return result

    def test_canaries(self):
        # Most of the time goes into waiting for what will never come.
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            results = dict(zip(CANARIES, pool.map(self.run_canary, CANARIES)))
        for canary, (code, figures, errors) in results.items():
            if canary == 'leak' and not figures['measures_memory']:
                continue
            with self.subTest(canary=canary):
                found = {name: figures[name] for name in soak.VIOLATIONS if figures[name]}
                # Who leaves too early loses all that was on its way, and who hangs may keep others
                # from coming to rest.
                sort = CANARIES[canary][1]
                count = found.get(sort, 0) if canary in ('hasty', 'hang') else 1
                self.assertEqual({sort: max(count, 1)}, found, errors)
                self.assertEqual(1, code)

    def test_verdict(self):
        args = soak.parse([f'--program={self.program}', '--kills=1000', '--alerts=5'])
        good = {'kills': 1000, 'kills_nonempty': 300, 'kills_half': 100, 'lived_alerts': 5}
        self.assertEqual([], soak.verdict(args, good, 0))
        for change in ({'kills': 999}, {'kills_nonempty': 299}, {'kills_half': 99}, {'lived_alerts': 4},
                       {'lost': 1}, {'broken': 1}):
            with self.subTest(change=change):
                self.assertEqual(1, len(soak.verdict(args, {**good, **change}, 0)))
        self.assertEqual(1, len(soak.verdict(args, good, 1)))


if __name__ == '__main__':
    SoakTest.program = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
