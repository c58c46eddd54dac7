# SPDX-License-Identifier: Apache-2.0
"""The soak at all capacities: runs the program `soak` for each, and sums up.

Stages: pipes of 4 KiB, 8 KiB, 64 KiB and 1 MiB, and then an ordinary user who is past the page limit
of pipes (nobody, if this is root). Without targets each stage gets its part of --seconds. With
targets a stage ends when its part of them is reached, and --seconds is the limit for all. The exit
code is 0 when nothing was violated and all targets were reached.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

CAPACITIES = (4096, 8192, 65536, 1048576)
PAST_THE_LIMIT = 65536  # asked for; granted is what is left
VIOLATIONS = ('lost', 'duplicated', 'misdelivered', 'reordered', 'torn', 'invented', 'damaged',
              'hung', 'died', 'grown', 'broken')
TARGETS = ('kills', 'alerts', 'replacements')
DONE = {'kills': 'kills', 'alerts': 'lived_alerts', 'replacements': 'replacements'}
# Of the kills, if there is a target for them that is large enough to say so.
SHARES_FROM_KILLS = 1000
NONEMPTY_SHARE = 0.30
HALF_SHARE = 0.10
GRACE_SECONDS = 120


def past_the_limit(program):
    """The command that runs it past the page limit of an ordinary user."""
    script = pathlib.Path(__file__).resolve().parents[1] / 'process' / 'past_the_page_limit.py'
    return [sys.executable, '-B', str(script), str(program.parents[2]), str(program)]


def run_stage(command, options, seconds):
    """The figures of one stage; none if it could not run to its end."""
    command = command + [f'--{name}={value}' for name, value in options.items()]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd='/', check=False, text=True,
                              timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f'soak: not over in time: {command}', file=sys.stderr)
        return None
    lines = done.stdout.splitlines()
    if done.returncode not in (0, 1) or not lines:
        print(f'soak: ended with {done.returncode}: {command}', file=sys.stderr)
        return None
    return json.loads(lines[-1])


def shares(args, results, stages_left):
    """What the next stage has to reach of each target."""
    parts = {}
    for target in TARGETS:
        left = getattr(args, target) - sum(result[DONE[target]] for result in results)
        if getattr(args, target) > 0:
            parts[target] = max(1, -(-left // stages_left))
    return parts


def soak(args):
    """All stages. Returns the results, and how many stages are missing."""
    stages = [([str(args.program)], capacity) for capacity in args.capacity or CAPACITIES]
    if not args.capacity:
        stages.append((past_the_limit(args.program), PAST_THE_LIMIT))
    deadline = time.monotonic() + args.seconds
    results = []
    missing = 0
    for index, (command, capacity) in enumerate(stages):
        left = len(stages) - index
        parts = shares(args, results, left)
        seconds = (deadline - time.monotonic()) / (left if not parts else (left + 1) / 2)
        options = {'capacity': capacity, 'seconds': round(max(seconds, 1), 1),
                   'seed': args.seed + index, **parts}
        for name in ('phase', 'round', 'patience'):
            if getattr(args, name) is not None:
                options[name] = getattr(args, name)
        result = run_stage(command, options, seconds)
        if result is None:
            missing += 1
        else:
            results.append(result)
    return results, missing


def percent(part, whole):
    return f'{100 * part / whole:.0f} %' if whole else '-'


def row(name, figures):
    """One line of the summary."""
    kills = figures['kills']
    return [
        name, f'{figures["seconds"]:.0f}', f'{kills:,}', percent(figures['kills_nonempty'], kills),
        percent(figures['kills_half'], kills), f'{figures["stops"]:,}',
        f'{figures["replacements"]:,}', f'{figures["lived_alerts"]:,}',
        f'{figures["died_alerts"]:,}', f'{figures["came_back"]:,}', f'{figures["drained"]:,}',
        *(str(figures[name]) for name in ('lost', 'duplicated', 'misdelivered', 'reordered', 'torn',
                                          'hung', 'grown')),
        str(sum(figures[name] for name in ('invented', 'damaged', 'died', 'broken')))
    ]


HEADS = ('pipes', 's', 'kills', 'non-empty', 'half', 'stops', 'replaced', 'both lived', 'one died',
         'came back', 'drained', 'lost', 'dup', 'misdel', 'reord', 'torn', 'hung', 'grown', 'else')


def summary(results):
    rows = [HEADS]
    total = {}
    for result in results:
        name = f'{result["granted"]}' + ('' if result['granted'] == result['capacity'] else
                                         f' (of {result["capacity"]})')
        rows.append(row(name, result))
        for key, value in result.items():
            total[key] = total.get(key, 0) + value
    rows.append(row('all', total))
    widths = [max(len(line[i]) for line in rows) for i in range(len(HEADS))]
    for line in rows:
        print('  '.join(text.rjust(width) for text, width in zip(line, widths)))
    for result in results:
        print(f'pipes of {result["granted"]}: heap grew by {result["master_heap_growth"]} bytes in '
              f'the master, {result["keeper_heap_growth"]} in the worker that was never killed; '
              f'resident {result["master_rss_growth"]} and {result["keeper_rss_growth"]} '
              f'({result["samples"]} samples)')
    return total


def verdict(args, total, missing):
    """What is wrong, in sentences."""
    wrong = [f'{total[name]} {name}' for name in VIOLATIONS if total.get(name, 0)]
    if missing:
        wrong.append(f'{missing} stages did not run to their end')
    for target in TARGETS:
        done = total.get(DONE[target], 0)
        if done < getattr(args, target):
            wrong.append(f'{done} {target}, the target is {getattr(args, target)}')
    kills = total.get('kills', 0)
    if args.kills >= SHARES_FROM_KILLS and kills:
        for name, share in (('kills_nonempty', NONEMPTY_SHARE), ('kills_half', HALF_SHARE)):
            if total[name] < share * kills:
                wrong.append(f'{name} {percent(total[name], kills)}, the target is {share:.0%}')
    return wrong


def parse(arguments):
    parser = argparse.ArgumentParser(prog='./dev soak', description=__doc__.split('\n', 1)[0])
    parser.add_argument('--program', type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument('--seconds', type=float, default=60, help='for all stages together (60)')
    parser.add_argument('--full', action='store_true',
                        help='the targets of a release: 100,000 kills, 10^8 alerts, 2,000 '
                        'replacements; 2,400 seconds at most, unless --seconds says otherwise')
    for target in TARGETS:
        parser.add_argument(f'--{target}', type=int, default=0, help='target, all stages together')
    parser.add_argument('--capacity', type=int, action='append',
                        help='only pipes of this many bytes (may be repeated)')
    parser.add_argument('--phase', help='only kill, stream or replace (comma separated)')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--round', type=float, help='seconds between two quiet points, at most')
    parser.add_argument('--patience', type=float, help='seconds that anything may take')
    args = parser.parse_args(arguments)
    args.program = args.program.resolve()
    if args.full:
        args.kills = args.kills or 100000
        args.alerts = args.alerts or 10**8
        args.replacements = args.replacements or 2000
        if args.seconds == parser.get_default('seconds'):
            args.seconds = 2400
    return args


def main(arguments):
    args = parse(arguments)
    results, missing = soak(args)
    total = summary(results) if results else {}
    wrong = verdict(args, total, missing)
    for sentence in wrong:
        print(f'WRONG: {sentence}')
    print(f'soak, seed {args.seed}: {"FAILED" if wrong else "passed"}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
