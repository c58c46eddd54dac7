# SPDX-License-Identifier: Apache-2.0
"""The front end of the benchmarks: rounds of measurements, interleaved, and a table of them.

A measurement is one run of the program `measure`, which prints one line of JSON. In each round every
transport has its turn, so that what disturbs the machine disturbs all of them, and ratios are taken
within a round.
"""

import argparse
import collections
import itertools
import json
import subprocess
import sys

import report

WORKLOADS = {
    'stream': '1 -> 1',
    'pingall': 'one worker pings all others, each pong triggers the next ping to its sender',
    'pingpong': 'one pair; latencies of the round trip',
    'fanout': 'broadcast 1 -> N',
    'fanin': 'N -> 1',
    'headline': 'pingall with 5 and 20 workers, 10 B and 10 KB',
}
WORKERS = {'stream': [2], 'pingpong': [2], 'pingall': [5], 'fanout': [5], 'fanin': [4]}
BYTES = [10]
HEADLINE_WORKERS = [5, 20]
HEADLINE_BYTES = [10, 10240]
UNITS = {'B': 1, 'KB': 1024, 'MB': 1024 * 1024}

# What all of a measurement may take, beyond what is asked for.
SLACK_SECONDS = 30

Case = collections.namedtuple('Case', 'workload workers bytes')
Contender = collections.namedtuple('Contender', 'transport linger run')


def size(text):
    """'10', '10KB' or '1MB' in bytes."""
    for unit in sorted(UNITS, key=len, reverse=True):
        if text.upper().endswith(unit):
            return int(text[:-len(unit)]) * UNITS[unit]
    return int(text)


def sizes(text):
    return [size(word) for word in text.split(',')]


def numbers(text):
    return [int(word) for word in text.split(',')]


def count(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog='./dev bench',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='workloads:\n' + ''.join(
            f'  {name:10}{text}\n' for name, text in WORKLOADS.items()) +
        'also: ./dev bench core, ./dev bench idle, ./dev bench report FILE, ./dev bench plot FILE '
        'PICTURE\n'
        'docs/bench.md says what is measured, and how.')
    parser.add_argument('--measure', required=True, help=argparse.SUPPRESS)
    parser.add_argument('workload', choices=WORKLOADS, metavar='WORKLOAD')
    parser.add_argument('--workers', type=numbers, metavar='N[,N...]',
                        help='all processes in pingall, receivers in fanout, senders in fanin')
    parser.add_argument('--bytes', type=sizes, metavar='SIZE[,SIZE...]',
                        help='data of an alert, with KB or MB; the name is 4 bytes more (default 10)')
    parser.add_argument('--seconds', type=float, default=1,
                        help='measured per transport and round (default 1)')
    parser.add_argument('--rounds', type=count, default=5, help='(default 5)')
    parser.add_argument('--capacity', type=size, metavar='SIZE',
                        help="of each pipe; 0 is the kernel's default (default: alertpipe's)")
    parser.add_argument('--against', metavar='TRANSPORT[,TRANSPORT...]',
                        help='measured beside alertpipe (default: all that are built, events excepted)')
    parser.add_argument('--linger', type=numbers, default=[0], metavar='N[,N...]',
                        help='how often an empty inbox is tried again before a process sleeps, where '
                             'a transport can; each N is measured (default 0)')
    parser.add_argument('--run', type=numbers, default=[2], metavar='N[,N...]',
                        help='packets that leave with one call, in raw-pipe-runs; each N is '
                             'measured (default 2)')
    parser.add_argument('--json', action='store_true', help='lines of JSON instead of a table')
    parser.add_argument('--checksum', action='store_true', help='compare all of the contents')
    parser.add_argument('--break', dest='fault', choices=['drop', 'corrupt'],
                        help='commit a fault, to see that it is noticed: a test of the harness')
    parser.add_argument('--patience', type=float, default=10,
                        help='seconds that a start or an end may take (default 10)')
    options = parser.parse_args(arguments)
    options.contenders = choose_contenders(parser, options)
    options.cases = choose_cases(parser, options)
    return options


def choose_contenders(parser, options):
    """alertpipe first, then what it is compared with; each with all that it is measured with."""
    lines = subprocess.run([options.measure, '--list'], stdout=subprocess.PIPE, check=True,
                           encoding='utf-8').stdout.splitlines()
    known = {line['transport']: line for line in map(json.loads, lines)}
    there = [name for name, line in known.items() if line['missing'] is None]
    if options.against is not None:
        wanted = options.against.split(',')
    else:
        wanted = [name for name in there if not known[name]['on_request']]
    for name in wanted:
        if name not in known:
            parser.error(f"there is no transport '{name}' (choose from {', '.join(known)})")
        if name not in there:
            parser.error(f"{name} is not in this build: install {known[name]['missing']} and "
                         'configure again (./dev bench does both)')
    chosen = [known[name] for name in dict.fromkeys([report.OURS] + wanted)]
    if options.linger != [0] and not any(line['linger'] for line in chosen):
        parser.error('none of these can linger')
    if options.run != [2] and not any(line['run'] for line in chosen):
        parser.error('none of these has runs')
    return [Contender(line['transport'], linger, run) for line in chosen
            for run in (options.run if line['run'] else [None])
            for linger in (options.linger if line['linger'] else [0])]


def choose_cases(parser, options):
    if options.workload == 'headline':
        if options.workers or options.bytes:
            parser.error('headline has its own --workers and --bytes; pingall takes others')
        return [Case('pingall', *pair)
                for pair in itertools.product(HEADLINE_WORKERS, HEADLINE_BYTES)]
    return [Case(options.workload, *pair) for pair in itertools.product(
        options.workers or WORKERS[options.workload], options.bytes or BYTES)]


def command(options, case, contender, number):
    line = [options.measure, f'--workload={case.workload}', f'--transport={contender.transport}',
            f'--round={number}', f'--workers={case.workers}', f'--bytes={case.bytes}',
            f'--seconds={options.seconds}', f'--patience={options.patience}',
            f'--checksum={"true" if options.checksum else "false"}',
            f'--linger={contender.linger}']
    if contender.run is not None:
        line.append(f'--run={contender.run}')
    if options.capacity is not None:
        line.append(f'--capacity={options.capacity}')
    if options.fault:
        line.append(f'--break={options.fault}')
    return line


class Progress:
    """Which measurement runs: one changing line on a terminal, else a line for each."""

    def __init__(self, steps):
        self.steps = steps
        self.done = 0
        self.terminal = sys.stderr.isatty()

    def step(self, case, contender, number):
        self.done += 1
        text = (f'[{self.done}/{self.steps}] {case.workload}, {case.workers} workers, '
                f'{case.bytes} bytes, round {number}: {report.contender(*contender)}')
        print('\r\033[K' + text if self.terminal else text, end='' if self.terminal else '\n',
              file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print('\r\033[K', end='', file=sys.stderr, flush=True)


def measure(options, progress):
    """Yields the result of each measurement; stops after one that failed."""
    for case in options.cases:
        for number in range(1, options.rounds + 1):
            for contender in options.contenders:
                progress.step(case, contender, number)
                output, exit_code = run(options, command(options, case, contender, number))
                progress.clear()
                if output:
                    yield json.loads(output)
                if exit_code == 2:
                    sys.exit(2)
                if exit_code != 0:
                    sys.exit(f'FAILED: {case.workload} over {report.contender(*contender)}, round {number}')


def run(options, line):
    """What it prints, and its exit code. It ends by itself; if not, it is killed."""
    limit = options.seconds + 4 * options.patience + SLACK_SECONDS
    try:
        ended = subprocess.run(line, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               encoding='utf-8', timeout=limit)
    except subprocess.TimeoutExpired:
        print(f'it did not end within {limit} s', file=sys.stderr)
        return '', 1
    return ended.stdout, ended.returncode


def main(arguments):
    options = parse(arguments)
    progress = Progress(len(options.cases) * options.rounds * len(options.contenders))
    results = []
    for result in measure(options, progress):
        if options.json:
            print(json.dumps(result), flush=True)
        results.append(result)
    if not options.json:
        print(report.text(results))


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
