# SPDX-License-Identifier: Apache-2.0
"""Runs libFuzzer's programs of the targets in this folder; ./dev fuzz builds and runs them.

Without a word the targets are explored, from their corpus and what earlier runs have found. With
the word canaries each known defect is planted in turn and has to be found from the committed corpus
alone. In the build folder are then `found`, `crashes`, and a log of each target. Exits with 1 if
a target fails or a canary is not found.
"""

import argparse
import concurrent.futures
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CORPUS = pathlib.Path(__file__).resolve().parent / 'corpus'
OPTIONS = ('-max_len=4096', '-timeout=60', '-rss_limit_mb=2048', '-entropic=0', '-len_control=20',
           '-print_final_stats=1')
SECONDS = 60
CANARY_RUNS = 200000
PROGRESS_SECONDS = 5
# Exit codes: libFuzzer's for a crash, and that of libfuzzer_entry.cc.
FOUND = 77
NO_SUCH_CANARY = 3


def say(text):
    """At once and in one piece, as several targets may run."""
    sys.stdout.write(text + '\n')
    sys.stdout.flush()


class Fuzzer:
    def __init__(self, build, target):
        self.build = build
        self.target = target
        self.log = build / f'{target}.log'

    def start(self, found, artifacts, *options, **environment):
        """Inputs that reach something new go to the folder `found`, bad ones to `artifacts`."""
        found.mkdir(parents=True, exist_ok=True)
        command = [self.build / 'test' / 'fuzz' / f'fuzz_{self.target}', *OPTIONS, *options,
                   f'-artifact_prefix={artifacts}', found, CORPUS / self.target]
        with open(self.log, 'wb') as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, 'ASAN_OPTIONS': 'quarantine_size_mb=32', **environment})

    def last(self, pattern):
        """What the last line of the log that matches has in its group."""
        lines = re.findall(pattern, self.log.read_text(errors='replace'), re.MULTILINE)
        return lines[-1] if lines else ''

    def runs(self):
        return self.last(r'^stat::number_of_executed_units: *(.*)')

    def explore(self, seconds):
        say(f'\n== {self.target}: {seconds} s, {self.log}')
        crashes = self.build / 'crashes'
        crashes.mkdir(exist_ok=True)
        process = self.start(self.build / 'found' / self.target, crashes / f'{self.target}-',
                             f'-max_total_time={seconds}')
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                progress = self.last(r'^(#[0-9]+.*)')
                say(f'{self.target}: {progress[:78]}')
        if process.returncode == 0:
            speed = self.last(r'^stat::average_exec_per_sec: *(.*)')
            say(f'{self.target}: passed, {self.runs()} runs, {speed}/s')
            return True
        lines = self.log.read_text(errors='replace').splitlines()
        say('\n'.join([*lines[-40:], f'{self.target}: FAILED, see {crashes}']))
        return False

    def find_canaries(self):
        good = True
        for canary in itertools.count(1):  # each program knows how many it has
            with tempfile.TemporaryDirectory() as found:
                code = self.start(pathlib.Path(found), f'{found}/', f'-runs={CANARY_RUNS}',
                                  '-seed=1', ALERTPIPE_FUZZ_CANARY=str(canary)).wait()
            if code == NO_SUCH_CANARY:
                return good
            if code == FOUND:
                say(f'{self.target}: found after {self.runs()} runs: {self.last("^planted: (.*)")}')
            else:
                good = False
                say(f'{self.target}: NOT FOUND (exit code {code}): canary {canary}')


def parse(arguments):
    parser = argparse.ArgumentParser(prog='./dev fuzz', add_help=False,
                                     usage='%(prog)s [--jobs N] [SECONDS | canaries] [TARGET...]')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--build', type=pathlib.Path)
    parser.add_argument('words', nargs='*')
    args = parser.parse_intermixed_args(arguments)
    first = args.words[0] if args.words else ''
    args.canaries = first == 'canaries'
    args.seconds = int(first) if first.isdigit() else SECONDS
    known = sorted(path.name for path in CORPUS.iterdir())
    args.targets = args.words[args.canaries or first.isdigit():] or known
    for target in args.targets:
        if target not in known:
            parser.error(f'there is no fuzz target {target}, only {", ".join(known)}')
    if args.jobs < 1:
        parser.error(f'{args.jobs} jobs are not possible')
    return args


def main(arguments):
    args = parse(arguments)
    if args.build is None:  # asked what to build
        print('\n'.join(f'fuzz_{target}' for target in args.targets))
        return 0

    def run(target):
        fuzzer = Fuzzer(args.build, target)
        return fuzzer.find_canaries() if args.canaries else fuzzer.explore(args.seconds)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(run, args.targets))
    return 0 if all(results) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
