# SPDX-License-Identifier: Apache-2.0
"""The benchmarks work: every workload over every transport, their output, and what they refuse.

Run as: harness_test.py <folder of bench.py> <the program measure> <the program idle>. No speed is
tested.
"""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BENCH = pathlib.Path()
MEASURE = ''
IDLE = ''
SCALE = float(os.environ.get('ALERTPIPE_TIME_SCALE', '1'))

# Those that every build has; TRANSPORTS are those that this one has.
PLAIN = ['alertpipe', 'raw-pipe', 'raw-pipe-packed', 'raw-pipe-runs']
RAW = PLAIN[1:]
TRANSPORTS = []
# Measured when asked for.
ON_REQUEST = ['events', 'events-ordered']
# They cannot know what their libraries write.
UNCOUNTED = ('boost', 'zeromq')
FIELDS = ['workload', 'transport', 'round', 'workers', 'bytes', 'capacity', 'linger',
          'run', 'alerts_per_second', 'megabytes_per_second', 'p50_us', 'p99_us', 'p999_us',
          'packets_per_alert', 'verified']
SECONDS = 0.2 * SCALE
# What a machine without time for us makes of a short measurement; a longer one is tried then.
STARVED = 'nothing could be counted'
ATTEMPTS = 4
PATIENCE = 20 * SCALE


def long_enough(attempt):
    """What attempt(seconds) returns, with more and more seconds while the machine is too slow."""
    for number in range(ATTEMPTS):
        ended = attempt(SECONDS * 4 ** number)
        if STARVED not in ended.stderr:
            break
    return ended


def transports_of(measure):
    lines = subprocess.run([measure, '--list'], check=True, stdout=subprocess.PIPE,
                           encoding='utf-8', timeout=60 * SCALE).stdout.splitlines()
    return [line['transport'] for line in map(json.loads, lines)
            if line['missing'] is None and not line['on_request']]


def bench(*arguments, seconds=SECONDS, measure=None):
    return subprocess.run(
        [sys.executable, BENCH / 'bench.py', f'--measure={measure or MEASURE}', *arguments,
         f'--seconds={seconds}', f'--patience={PATIENCE}'],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        encoding='utf-8', timeout=400 * SCALE)


class HarnessTest(unittest.TestCase):

    def run_json(self, *arguments, exit_code=0):
        ended = long_enough(lambda seconds: bench(*arguments, '--json', seconds=seconds))
        self.assertEqual(exit_code, ended.returncode, ended.stderr)
        return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr

    def check_line(self, line, linger=0, run=2):
        self.assertEqual(FIELDS, list(line))
        self.assertIs(True, line['verified'])
        self.assertGreater(line['alerts_per_second'], 0)
        self.assertAlmostEqual(line['alerts_per_second'] * line['bytes'] / 1048576,
                               line['megabytes_per_second'])
        if line['transport'] in UNCOUNTED:
            self.assertIsNone(line['packets_per_alert'])
        else:
            self.assertGreater(line['packets_per_alert'], 0)
        self.assertEqual(linger, line['linger'])
        self.assertEqual(run if line['transport'] == 'raw-pipe-runs' else None, line['run'])
        for field in ('p50_us', 'p99_us', 'p999_us'):
            if line['workload'] == 'pingpong':
                self.assertGreater(line[field], 0)
            else:
                self.assertIsNone(line[field])

    def test_transports(self):
        self.assertEqual('alertpipe', TRANSPORTS[0])
        self.assertLessEqual(set(PLAIN), set(TRANSPORTS))

    def test_every_workload_over_every_transport(self):
        for workload, workers in (('stream', 2), ('pingall', 4), ('pingpong', 2), ('fanout', 3),
                                  ('fanin', 3)):
            with self.subTest(workload=workload):
                lines, _ = self.run_json(workload, f'--workers={workers}', '--bytes=10,1KB,10KB',
                                         '--rounds=1', '--checksum')
                self.assertEqual(
                    [(workload, workers, size, transport) for size in (10, 1024, 10240)
                     for transport in TRANSPORTS],
                    [(line['workload'], line['workers'], line['bytes'], line['transport'])
                     for line in lines])
                for line in lines:
                    self.check_line(line)

    def test_events(self):
        for workload in ('stream', 'pingall', 'pingpong', 'fanout', 'fanin'):
            with self.subTest(workload=workload):
                lines, _ = self.run_json(workload, '--bytes=10,10KB', '--rounds=1', '--checksum',
                                         f'--against={",".join(ON_REQUEST)}')
                self.assertEqual([(size, transport) for size in (10, 10240)
                                  for transport in ('alertpipe', *ON_REQUEST)],
                                 [(line['bytes'], line['transport']) for line in lines])
                for line in lines:
                    self.check_line(line)

    def test_data_larger_than_a_small_pipe(self):
        for workload in ('stream', 'pingall', 'fanout', 'fanin'):
            with self.subTest(workload=workload):
                lines, _ = self.run_json(workload, '--bytes=30000', '--capacity=8KB', '--rounds=1',
                                         '--checksum')
                self.assertEqual(TRANSPORTS, [line['transport'] for line in lines])
                for line in lines:
                    self.check_line(line)
                    self.assertEqual(8192, line['capacity'])

    def test_lingering_readers(self):
        for workload in ('stream', 'pingall', 'pingpong', 'fanout', 'fanin'):
            with self.subTest(workload=workload):
                lines, _ = self.run_json(workload, '--bytes=5000', '--capacity=8KB', '--rounds=1',
                                         '--checksum', '--linger=0,3', f'--against={",".join(RAW)}')
                self.assertEqual(
                    [(name, linger) for name in ('alertpipe', *RAW) for linger in (0, 3)],
                    [(line['transport'], line['linger']) for line in lines])
                for line in lines:
                    self.check_line(line, line['linger'])

    def test_runs(self):
        # Alerts that are copied and that are not, pipes that take a run whole and that tear it.
        for capacity in ('4KB', '64KB'):
            for workload in ('stream', 'pingall', 'fanout', 'fanin'):
                with self.subTest(capacity=capacity, workload=workload):
                    lines, _ = self.run_json(
                        workload, '--bytes=100,10KB,300KB', f'--capacity={capacity}', '--rounds=1',
                        '--checksum', '--against=raw-pipe-runs', '--run=1,4', '--workers=2')
                    self.assertEqual([None, 1, 4] * 3, [line['run'] for line in lines])
                    for line in lines:
                        self.check_line(line, run=line['run'])

    def test_headline(self):
        lines, _ = self.run_json('headline', '--rounds=1')
        self.assertEqual(
            [('pingall', workers, size, transport) for workers in (5, 20) for size in (10, 10240)
             for transport in TRANSPORTS],
            [(line['workload'], line['workers'], line['bytes'], line['transport'])
             for line in lines])
        for line in lines:
            self.check_line(line)

    def test_rounds_are_interleaved_and_end_in_a_table(self):
        ended = long_enough(
            lambda seconds: bench('stream', '--rounds=2', '--against=raw-pipe', seconds=seconds))
        self.assertEqual(0, ended.returncode, ended.stderr)
        steps = [line.split(', ', 3)[3] for line in ended.stderr.splitlines()]
        self.assertEqual(['round 1: alertpipe', 'round 1: raw-pipe', 'round 2: alertpipe',
                          'round 2: raw-pipe'], steps)
        rows = [[cell.strip() for cell in line.split('|')[1:-1]]
                for line in ended.stdout.splitlines() if line.startswith('|')]
        self.assertEqual('alertpipe/this: alerts/s', rows[0][-1])
        self.assertEqual(['alertpipe', 'raw-pipe'], [row[0] for row in rows[2:]])
        self.assertEqual('', rows[2][-1])
        self.assertRegex(rows[3][-1], r'^\d+\.\d\d \(\d+\.\d\d \.\. \d+\.\d\d\)$')

    def test_faults_are_noticed(self):
        for workload in ('stream', 'fanin', 'fanout', 'pingpong'):
            for transport in TRANSPORTS:
                with self.subTest(workload=workload, transport=transport):
                    line, errors = self.measure_broken(workload, transport, 'corrupt')
                    self.assertIs(False, line['verified'])
                    self.assertIn('the contents of alert 1 are not what was sent', errors)
        for transport in TRANSPORTS:
            with self.subTest(transport=transport):
                line, errors = self.measure_broken('stream', transport, 'drop')
                self.assertIs(False, line['verified'])
                self.assertIn('number 2 came instead of 1', errors)

    def test_what_hangs_is_ended(self):
        # A ping that is never sent has no pong.
        line, errors = self.measure_broken('pingpong', 'raw-pipe', 'drop', patience=4 * SCALE)
        self.assertIs(False, line['verified'])
        self.assertIn('2 processes had not ended', errors)

    def measure_broken(self, workload, transport, fault, patience=PATIENCE):
        workers = 2 if workload in ('stream', 'pingpong') else 3
        ended = long_enough(lambda seconds: subprocess.run(
            [MEASURE, f'--workload={workload}', f'--transport={transport}', f'--workers={workers}',
             f'--break={fault}', f'--checksum={fault == "corrupt"}', f'--seconds={seconds}',
             f'--patience={patience}'],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
            timeout=200 * SCALE))
        self.assertEqual(1, ended.returncode, ended.stderr)
        return json.loads(ended.stdout), ended.stderr

    def test_a_failure_ends_all(self):
        lines, errors = self.run_json('stream', '--rounds=3', '--break=drop', exit_code=1)
        self.assertEqual([False], [line['verified'] for line in lines])
        self.assertIn('FAILED: stream over alertpipe, round 1', errors)

    def test_wrong_options_are_refused(self):
        for arguments, text in (
                ([], 'required: WORKLOAD'),
                (['sideways'], "invalid choice: 'sideways'"),
                (['stream', '--hurry'], '--hurry'),
                (['stream', '--against=pigeon'], "there is no transport 'pigeon' (choose from"),
                (['stream', '--bytes=7'], '--bytes must be 8 to 1073741824, not 7'),
                (['stream', '--bytes=1GiB'], "'1GiB'"),
                (['stream', '--workers=3'], '--workers must be 2 to 2, not 3'),
                (['pingall', '--workers=257'], '--workers must be 2 to 256, not 257'),
                (['fanin', '--workers=0'], '--workers must be 1 to 256, not 0'),
                (['headline', '--bytes=10'], 'headline has its own'),
                (['stream', '--rounds=0'], "'0'"),
                (['stream', '--linger=few'], "'few'"),
                (['stream', '--linger=1001', '--against=raw-pipe'],
                 '--linger must be 0 to 1000, not 1001'),
                (['stream', '--run=17', '--against=raw-pipe-runs'],
                 '--run must be 1 to 16, not 17'),
                (['stream', '--run=4', '--against=raw-pipe'], 'none of these has runs'),
                (['stream', '--break=wind'], "'wind'"),
                (['stream', '--break=corrupt'], '--checksum')):
            with self.subTest(arguments=arguments):
                ended = bench(*arguments)
                self.assertEqual(2, ended.returncode, ended.stderr)
                self.assertIn(text, ended.stderr)
                self.assertEqual('', ended.stdout)
        ended = bench('stream', seconds=0)
        self.assertEqual(2, ended.returncode)
        self.assertIn('--seconds must be 0.05 to 600, not 0', ended.stderr)

    def test_what_was_missing_when_it_was_built_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            measure = pathlib.Path(folder) / 'measure'
            measure.write_text(
                """#!/bin/sh
echo '{"transport": "alertpipe", "missing": null}'
echo '{"transport": "zeromq", "missing": "libzmq3-dev"}'
""", encoding='utf-8')
            measure.chmod(0o755)
            ended = bench('stream', '--against=zeromq', measure=measure)
        self.assertEqual(2, ended.returncode)
        self.assertIn('zeromq is not in this build: install libzmq3-dev', ended.stderr)

    def test_nothing_is_left_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            for transport in TRANSPORTS:
                ended = subprocess.run(
                    [MEASURE, f'--transport={transport}', '--seconds=0.05',
                     f'--patience={PATIENCE}'], check=False, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=folder),
                    timeout=200 * SCALE)
                self.assertIn(ended.returncode, (0, 1))
                self.assertEqual([], os.listdir(folder), transport)

    def test_children_do_not_outlive_a_killed_harness(self):
        for transport in TRANSPORTS:
            with self.subTest(transport=transport), tempfile.TemporaryDirectory() as folder, \
                    subprocess.Popen(
                        [MEASURE, '--workload=fanin', '--workers=2', f'--transport={transport}',
                         '--seconds=100'], stdout=subprocess.DEVNULL,
                        env=dict(os.environ, TMPDIR=folder)) as harness:
                try:
                    children = self.await_children(harness.pid, 3)
                finally:
                    harness.send_signal(signal.SIGKILL)
                    harness.wait()
                self.await_end(children)

    def await_children(self, pid, number):
        deadline = time.monotonic() + 20 * SCALE
        while time.monotonic() < deadline:
            text = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text(encoding='utf-8')
            # They ask to die with their parent before they run hot.
            busy = [int(word) for word in text.split() if self.cpu_ticks(int(word)) > 2]
            if len(busy) == number:
                return busy
            time.sleep(0.05)
        self.fail(f'not all {number} processes of the measurement run')
        return []

    def await_end(self, pids):
        deadline = time.monotonic() + 20 * SCALE
        while time.monotonic() < deadline:
            if all(self.cpu_ticks(pid) < 0 for pid in pids):
                return
            time.sleep(0.05)
        self.fail('children of a killed harness go on')

    @staticmethod
    def cpu_ticks(pid):
        """-1 for a process that has ended."""
        try:
            text = pathlib.Path(f'/proc/{pid}/stat').read_text(encoding='utf-8')
        except OSError:
            return -1
        fields = text.rpartition(')')[2].split()
        return -1 if fields[0] in 'ZX' else int(fields[11]) + int(fields[12])


class IdleTest(unittest.TestCase):

    def idle(self, *arguments):
        return subprocess.run(
            [IDLE, *arguments, f'--patience={PATIENCE}'], check=False, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, encoding='utf-8', timeout=100 * SCALE)

    def test_nobody_wakes_up(self):
        ended = self.idle('--workers', '4', '--seconds', '1', '--json')
        self.assertEqual(0, ended.returncode, ended.stderr)
        line = json.loads(ended.stdout)
        runs = ['voluntary_ctxt_switches', 'nonvoluntary_ctxt_switches', 'cpu_ticks']
        memory = ['VmRSS_kb', 'RssAnon_kb', 'Pss_kb', 'Pss_Anon_kb']
        self.assertEqual(['workers', 'seconds', 'linger', 'capacity', *runs,
                          'cpu_ticks_per_second', *memory], list(line))
        self.assertEqual((4, 1, 20), (line['workers'], line['seconds'], line['linger']))
        self.assertGreaterEqual(line['capacity'], 4096)
        for field in runs:
            found = line[field]
            self.assertEqual(['before', 'after', 'difference'], list(found))
            self.assertEqual(found['after']['sum'] - found['before']['sum'],
                             found['difference']['sum'], field)
            self.assertLessEqual(found['difference']['max'], found['difference']['sum'], field)
        # They have run before.
        self.assertGreater(line['voluntary_ctxt_switches']['before']['sum'], 0)
        self.assertEqual({'sum': 0, 'max': 0}, line['voluntary_ctxt_switches']['difference'])
        for field in memory:
            self.assertLessEqual(line[field]['median'], line[field]['max'], field)
            self.assertGreater(min(line[field].values()), 0, field)

    def test_tables(self):
        ended = self.idle('--workers=1', '--seconds=0.1', '--linger=0')
        self.assertEqual(0, ended.returncode, ended.stderr)
        self.assertIn('1 workers, idle for 0.1 s, lingering 0, pipes of ', ended.stdout)
        names = [line.split('|')[1].strip() for line in ended.stdout.splitlines()
                 if line.startswith('| ')]
        self.assertEqual(['all workers', 'voluntary_ctxt_switches', 'nonvoluntary_ctxt_switches',
                          'cpu_ticks', 'memory in KB', 'VmRSS', 'RssAnon', 'Pss', 'Pss_Anon'],
                         names)

    def test_wrong_options_are_refused(self):
        for arguments, text in ((['--seconds=0'], '--seconds must be 0.1 to 86400, not 0'),
                                (['--workers=0'], 'workers_max'),
                                (['more'], 'not an option: more')):
            with self.subTest(arguments=arguments):
                ended = self.idle(*arguments)
                self.assertEqual(2, ended.returncode, ended.stderr)
                self.assertIn(text, ended.stderr)
                self.assertEqual('', ended.stdout)

    def test_children_do_not_outlive_it(self):
        with subprocess.Popen([IDLE, '--workers=2', '--seconds=100'],
                              stdout=subprocess.DEVNULL) as program:
            try:
                children = self.children_of(program.pid, 3)
            finally:
                program.send_signal(signal.SIGKILL)
                program.wait()
            HarnessTest().await_end(children)

    def children_of(self, pid, number):
        deadline = time.monotonic() + 20 * SCALE
        while time.monotonic() < deadline:
            text = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text(encoding='utf-8')
            if len(text.split()) == number:
                return [int(word) for word in text.split()]
            time.sleep(0.05)
        self.fail(f'not all {number} processes of the pool run')
        return []


def result(transport, number, rate, **others):
    line = dict.fromkeys(FIELDS)
    line.update(workload='stream', transport=transport, round=number, workers=2, bytes=10,
                capacity=262144, linger=0, run=None, alerts_per_second=rate, megabytes_per_second=rate,
                packets_per_alert=1, verified=True)
    line.update(others)
    return line


class ReportTest(unittest.TestCase):

    def setUp(self):
        sys.path.insert(0, str(BENCH))
        import report  # pylint: disable=import-outside-toplevel
        self.report = report
        self.results = []
        for number, (ours, theirs) in enumerate(((10, 5), (30, 10), (20, 20)), 1):
            self.results += [result('alertpipe', number, ours), result('raw-pipe', number, theirs)]

    def test_ratios_are_paired(self):
        (transports,) = self.report.by_case(self.results).values()
        ratio = self.report.ratio(transports['alertpipe'], transports['raw-pipe'],
                                  'alerts_per_second')
        # 10/5, 30/10, 20/20; not the ratio of the medians.
        self.assertEqual((2, 1, 3), (ratio.median, ratio.least, ratio.most))
        self.assertIn('| 2.00 (1.00 .. 3.00) |', ' '.join(self.report.text(self.results).split()))

    def test_contenders_are_told_apart(self):
        more = [dict(line, linger=20, alerts_per_second=2 * line['alerts_per_second'])
                for line in self.results]
        (contenders,) = self.report.by_case(self.results + more).values()
        self.assertEqual(['alertpipe', 'raw-pipe', 'alertpipe lingering 20',
                          'raw-pipe lingering 20'], list(contenders))
        rows = self.report.one_case(contenders)
        # Ours, lingering or not, to each of the others.
        self.assertEqual(
            [('raw-pipe', '2.00 (1.00 .. 3.00)', '4.00 (2.00 .. 6.00)'),
             ('raw-pipe lingering 20', '1.00 (0.50 .. 1.50)', '2.00 (1.00 .. 3.00)')],
            [(row['transport'], row['alertpipe/this: alerts/s'],
              row['alertpipe lingering 20/this: alerts/s']) for row in rows[1::2]])
        self.assertEqual('raw-pipe-runs of 4 lingering 1',
                         self.report.contender('raw-pipe-runs', 1, 4))

    def test_results_without_runs_are_read(self):
        for line in self.results:
            del line['run']
        self.assertIn('raw-pipe', self.report.text(self.results))

    def test_cases_are_told_apart(self):
        more = [dict(line, bytes=1024) for line in self.results]
        text = ' '.join(self.report.text(self.results + more).split())
        self.assertIn('| 10 B | 20 (10 .. 30) |', text)
        self.assertIn('| 1 KB | 20 (10 .. 30) |', text)
        self.assertNotIn('pipes', text)
        other = [dict(line, capacity=65536) for line in self.results]
        text = ' '.join(self.report.text(self.results + other).split())
        self.assertIn('| 10 B | 64 KB | 20 (10 .. 30) |', text)

    @unittest.skipIf(importlib.util.find_spec('matplotlib') is None, 'matplotlib is not there')
    def test_plot(self):
        slower = [dict(line, run=4, transport='raw-pipe-runs', linger=20) for line in self.results]
        sizes = self.results + slower + [dict(line, bytes=1024) for line in self.results]
        for name, results, texts in (
                ('bars', self.results, ['stream, 2 workers, 10 B, pipes of 256 KB', 'raw-pipe']),
                ('sizes', sizes, ['stream, 2 workers, pipes', 'data of an alert', '1 KB',
                                  'raw-pipe-runs of 4 lingering 20']),
                ('both', sizes + [dict(line, workers=64) for line in sizes],
                 ['stream, 2 workers, pipes', 'stream, 64 workers, pipes', 'stream, 1 KB, pipes',
                  'data of an alert', '>workers<'])):
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                picture = self.plot(folder, results, 'picture.svg').decode('utf-8')
                self.assertIn('<svg', picture)
                for text in texts:
                    self.assertIn(text, picture)
                self.assertEqual(picture,
                                 self.plot(folder, results, 'again.svg').decode('utf-8'))
                self.assertEqual(b'\x89PNG', self.plot(folder, results, 'picture.png')[:4])

    @staticmethod
    def plot(folder, results, name):
        file = pathlib.Path(folder) / 'results.json'
        file.write_text(''.join(json.dumps(line) + '\n' for line in results), encoding='utf-8')
        picture = pathlib.Path(folder) / name
        subprocess.run([sys.executable, BENCH / 'plot.py', file, picture], check=True,
                       timeout=100 * SCALE, env=dict(os.environ, MPLCONFIGDIR=folder))
        return picture.read_bytes()


if __name__ == '__main__':
    BENCH = pathlib.Path(sys.argv.pop(1))
    MEASURE = sys.argv.pop(1)
    IDLE = sys.argv.pop(1)
    TRANSPORTS = transports_of(MEASURE)
    sys.dont_write_bytecode = True
    unittest.main()
