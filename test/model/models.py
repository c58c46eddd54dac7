# SPDX-License-Identifier: Apache-2.0
"""Searches the models of life and order exhaustively: what holds, and which variants must fail.

Run as: models.py [--quick] [WORD...]. With words: only cases whose model and name contain them all.
Every search is bounded in memory and processor time; what is generated goes to a temporary folder.
A table is printed as it grows, with seconds of the processor. Exit code: 0 if everything came out
as expected, 1 if not, 77 if a tool is missing (Meson: skipped).
"""

import argparse
import collections
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

SECONDS_MAX = 300  # of the processor: others may use it too
PATIENCE = 12  # times as long by the clock
MEGABYTES_MAX = 3000
DEPTH_MAX = 10000
SKIPPED = 77

# fails: what the violated assertion has to match, or None where nothing may be violated.
# cycles: search for cycles instead (there must be none, so whatever runs comes to rest).
Case = collections.namedtuple('Case', 'model name defines fails quick cycles')


def holds(model, name, defines='', quick=False, cycles=False):
    return Case(model, name, defines.split(), None, quick, cycles)


def fails(model, variant, fails_with, defines='', quick=False):
    return Case(model, variant, defines.split() + variant.split('+'), fails_with, quick, False)


LATE = 'N=3 LATE REQUESTS=0 '
FULL = 'CAPACITY=1 PATIENCE=1 '
OVER = 'N=2 APART PLACES=2 EVENTS0=2 '
OVER_MORE = 'N=2 CLAIM_APART PLACES=2 EVENTS0=3 '
CASES = [
    # ---- One old worker leaves ----
    holds('drain', 'one leaves', 'NEWS=1 REPLIES=1 REQUESTS=1', quick=True),
    holds('drain', 'one leaves, no cycle', '', quick=True, cycles=True),
    holds('drain', 'one leaves, more of everything', 'NEWS=2 REPLIES=2 REQUESTS=1'),
    holds('drain', 'late starter', LATE + 'NEWS=1 REPLIES=2 LASTS=1'),
    holds('drain', 'late starter, barrier', LATE + 'REPLIES=1 BARRIERS=1'),
    holds('drain', 'late starter, one death',
          LATE + 'NEWS=0 REPLIES=1 LASTS=1 CRASHES=1 CAPACITY=1'),
    holds('drain', 'one death', 'CRASHES=1'),
    holds('drain', 'two deaths', 'NEWS=1 REPLIES=1 REQUESTS=0 CRASHES=2'),
    holds('drain', 'one stopped', 'NEWS=2 STOPS'),
    # ---- Two leave at a time ----
    holds('drain', 'two leave', 'DRAINS=2 NEWS=0 REPLIES=0 REQUESTS=0', quick=True),
    holds('drain', 'two leave, no cycle', 'DRAINS=2 NEWS=0 REPLIES=0 REQUESTS=0', cycles=True),
    holds('drain', 'two leave, requests', 'DRAINS=2 NEWS=0 REPLIES=1 REQUESTS=1'),
    holds('drain', 'two leave, sends', 'DRAINS=2 NEWS=1 REPLIES=1 REQUESTS=0'),
    holds('drain', 'two leave, a third', 'N=3 DRAINS=2 CAPACITY=1 NEWS=0 REPLIES=0 REQUESTS=0'),
    holds('drain', 'two leave, one death',
          'DRAINS=2 CAPACITY=1 NEWS=0 REPLIES=1 REQUESTS=0 CRASHES=1'),
    holds('drain', 'two leave, one stopped', 'DRAINS=2 NEWS=0 REPLIES=1 REQUESTS=0 STOPS'),
    # ---- What must fail: the word, the notice, the rounds ----
    fails('drain', 'TELL_FIRST', r'closing', 'REPLIES=0 REQUESTS=0', quick=True),
    fails('drain', 'NOTICE_LOST', r'word', quick=True),
    fails('drain', 'ONE_ROUND', r'closing', 'REPLIES=0 REQUESTS=0', quick=True),
    fails('drain', 'NO_ROUND2', r'inside', quick=True),
    fails('drain', 'NO_SETTLE', r'asked', quick=True),
    fails('drain', 'ACK_OVERTAKES', r'inside', 'NEWS=2', quick=True),
    fails('drain', 'KEEPS_OPEN', r'inside', quick=True),
    # ---- Who is asked ----
    fails('drain', 'NO_SELF', r'inside', quick=True),
    fails('drain', 'OLD_LIST', r'inside', LATE + 'NEWS=0 REPLIES=1 LASTS=1', quick=True),
    fails('drain', 'LIST_UP_ONLY', r'inside', 'DRAINS=2 REPLIES=2'),
    fails('drain', 'NO_STRANGERS', r'inside|phase', LATE + 'NEWS=0 REPLIES=1', quick=True),
    fails('drain', 'CONTROL_OPENS', r'inside|phase', LATE + 'NEWS=0 REPLIES=1 BARRIERS=1'),
    # ---- Deaths, and the exit ----
    fails('drain', 'SETTLE_BY_ROSTER', r'inside', 'CRASHES=1', quick=True),
    fails('drain', 'NOTICES_SKIP_DRAINING', r'word', 'DRAINS=2 CRASHES=1'),
    fails('drain', 'EXIT_WITH_TOKENS', r'token', quick=True),
    fails('drain', 'EXIT_UNWRITTEN', r'queue', quick=True),

    # ---- A dead worker is replaced ----
    holds('respawn', 'two senders, one alert each', 'ALERTS=1', quick=True),
    holds('respawn', 'no cycle', 'ALERTS=1', cycles=True),
    holds('respawn', 'two senders, two alerts each', 'ALERTS=2'),
    holds('respawn', 'two deaths of the reader', 'ALERTS=1 READER_KILLS=2'),
    holds('respawn', 'one sender, many alerts', 'SENDERS=1 ALERTS=4 READER_KILLS=3 SENDER_KILLS=2'),
    fails('respawn', 'NO_DRAIN', r'stale', 'SENDERS=1', quick=True),
    fails('respawn', 'NO_DRAIN+READS_PIECEWISE', r'cut', 'SENDERS=1 CAPACITY=1', quick=True),
    fails('respawn', 'LATE_DRAIN', r'due', 'ALERTS=1', quick=True),
    fails('respawn', 'DRAIN_AFTER_FORK', r'due', 'ALERTS=1'),
    fails('respawn', 'PUBLISH_BEFORE_DOWN', r'due', 'ALERTS=1', quick=True),
    fails('respawn', 'NO_DESTINATION_GENERATION', r'life', 'ALERTS=1', quick=True),
    fails('respawn', 'GENERATION_KEPT', r'life', 'ALERTS=1'),
    fails('respawn', 'FAILED_FORK_KEEPS_GENERATION', r'life', 'ALERTS=1', quick=True),

    # ---- Death notices ----
    holds('notice', 'two senders', '', quick=True),
    holds('notice', 'no cycle', '', cycles=True),
    holds('notice', 'two senders, more deaths', 'KILLS=3 ALERTS=2'),
    holds('notice', 'two readers, one stopped', 'SENDERS=1 READERS=2 ALERTS=2 STOPS', quick=True),
    holds('notice', 'two of each, one stopped', 'READERS=2 KILLS=1 CAPACITY=1 STOPS'),
    holds('notice', 'garbage takes notices', 'SENDERS=1 GARBAGE', quick=True),
    holds('notice', 'garbage, two senders', 'GARBAGE'),
    fails('notice', 'NO_NOTICE', r'collects|told_dead', 'SENDERS=1', quick=True),
    fails('notice', 'NOTICE_EARLY', r'told_dead', 'SENDERS=1', quick=True),
    fails('notice', 'NOTICE_LOST', r'collects|told_dead', 'SENDERS=1', quick=True),
    fails('notice', 'FREES_BY_ROSTER', r'told_dead|collects', 'SENDERS=1'),
    fails('notice', 'NOTICE_WITHOUT_GENERATION', r'collects', 'SENDERS=1', quick=True),
    fails('notice', 'NO_RECHECK', r'collects|told_dead', 'SENDERS=1 GARBAGE', quick=True),
    fails('notice', 'RECHECK_AT_ONCE', r'told_dead', 'SENDERS=1 GARBAGE'),
    fails('notice', 'ONE_FOR_ALL', r'untold', 'SENDERS=1 READERS=2 STOPS'),

    # ---- One order of events ----
    holds('order', 'one event each', '', quick=True),
    holds('order', 'no cycle', 'KILLED=1', cycles=True),
    holds('order', 'no cycle, one refused', 'REFUSALS=1', cycles=True),
    holds('order', 'no cycle, the ring runs over', OVER, cycles=True),
    holds('order', 'two events, and one', 'EVENTS0=2 CAPACITY=1'),
    holds('order', 'two events each, no third', 'N=2 EVENTS0=2 EVENTS1=2'),
    holds('order', 'one dies', 'KILLED=1'),
    holds('order', 'one dies, two events', 'N=2 EVENTS0=2 EVENTS1=2 KILLED=1'),
    holds('order', 'both die', 'KILLED=3'),
    holds('order', 'one dies, one stopped', 'KILLED=1 STOPPED=2'),
    holds('order', 'patience, the receiver stopped', FULL + 'STOPPED=4'),
    holds('order', 'patience, the receiver dies', FULL + 'KILLED=4'),
    holds('order', 'patience, a publisher dies', FULL + 'KILLED=1'),
    holds('order', 'patience, more events', FULL + 'N=2 EVENTS0=2 EVENTS1=2'),
    holds('order', 'refused', 'REFUSALS=1'),
    holds('order', 'refused, one of two', 'N=2 EVENTS0=2 REFUSALS=1 KILLED=1'),
    holds('order', 'apart', 'N=2 APART ONE_EACH EVENTS0=2'),
    holds('order', 'apart, one dies', 'N=2 APART EVENTS0=2 KILLED=1'),
    holds('order', 'the ring runs over', OVER),
    holds('order', 'the ring runs over, one dies', OVER + 'KILLED=1'),
    holds('order', 'the ring runs over, more events', OVER_MORE),
    # ---- What must fail: the claim, and the read that proves ----
    fails('order', 'CLAIM_FIRST', r'due', quick=True),
    fails('order', 'NO_COMPARE', r'due|told|after', quick=True),
    fails('order', 'NO_READ', r'due', quick=True),
    fails('order', 'OLD_READ', r'due', quick=True),
    fails('order', 'READS_ONE', r'due', quick=True),
    fails('order', 'ON_ARRIVAL', r'place_of', quick=True),
    fails('order', 'OWN_AT_ONCE', r'place_of', quick=True),
    # ---- What comes late, or not at all ----
    fails('order', 'LATE_DELIVERED', r'after', FULL, quick=True),
    fails('order', 'NO_CLAIM_NOTICE', r'told', FULL, quick=True),
    fails('order', 'CLAIMED_AT_ONCE', r'due', quick=True),
    fails('order', 'WAITS_FOR_MISSING', r'due|told', 'REFUSALS=1', quick=True),
    fails('order', 'NO_PATIENCE', r'claimed|told', FULL + 'STOPPED=4', quick=True),
    fails('order', 'NO_GAP', r'told', 'REFUSALS=1', quick=True),
    fails('order', 'GAP_AT_ONCE', r'told', 'N=2 EVENTS0=2 REFUSALS=1', quick=True),
    # ---- Deaths and stops ----
    fails('order', 'NO_DEATH_NOTICE', r'events', 'KILLED=1', quick=True),
    fails('order', 'NOTICE_EARLY', r'events', 'KILLED=1', quick=True),
    fails('order', 'DEAD_AT_ONCE', r'place_of', 'KILLED=1', quick=True),
    fails('order', 'DEAD_BY_LIMIT', r'place_of', 'KILLED=1', quick=True),
    fails('order', 'DEAD_BY_TAIL', r'place_of', 'KILLED=1', quick=True),
    fails('order', 'NO_HELP', r'due', 'STOPPED=1', quick=True),
    fails('order', 'NO_DEADLINE', r'due', 'STOPPED=1', quick=True),
    # ---- A ring that runs over ----
    fails('order', 'NO_CHECK', r'due|told|after|place_of', OVER_MORE, quick=True),
    fails('order', 'ANY_LAP', r'due|told|after|place_of', OVER, quick=True),
    fails('order', 'KEEPS_AFTER_OVERRUN', r'told|events', OVER, quick=True),
]

Outcome = collections.namedtuple('Outcome', 'result states transitions depth')


def number(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def judge(output, case):
    """What the search has found."""
    figures = (number(r'(\d+) states, stored', output),
               number(r'(\d+) transitions \(=', output),
               number(r'depth reached (\d+)', output))
    complaint = re.search(r'^pan:1: (.*) \(at depth \d+\)', output, re.MULTILINE)
    # Of generated text, so it has to be there in full, or something has gone wrong.
    whole = f'errors: {1 if complaint else 0}' in output
    if re.search(r'out of memory|max search depth too small|Search not completed', output):
        whole = whole and complaint is not None
    if not whole:
        return Outcome('incomplete', *figures)
    if complaint is None:
        return Outcome('holds', *figures)
    text = complaint.group(1)
    if case.fails is not None and text.startswith('assertion') and re.search(case.fails, text):
        return Outcome('fails', *figures)
    return Outcome(text, *figures)


def limit_time():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX))


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def search(case, models, folder, optimize):
    """Generates, compiles and runs the search in a folder that is empty."""
    source = models / f'{case.model}.pml'
    text = source.read_text(encoding='utf-8')
    for define in case.defines:
        if not re.search(r'\b' + define.split('=')[0] + r'\b', text):
            raise ValueError(f'{source.name} knows no {define}')
    defines = ['-D' + define for define in case.defines]
    # SAFETY leaves out what only the search for cycles needs, and NP is that search.
    kind = ['-DNP'] if case.cycles else ['-DSAFETY']
    run = ['./pan', f'-m{DEPTH_MAX}', '-w20'] + (['-l'] if case.cycles else [])
    try:
        for command in (['spin', '-a', *defines, str(source)],
                        ['cc', '-w', optimize, *kind, '-DNOFAIR', '-DCOLLAPSE',
                         f'-DMEMLIM={MEGABYTES_MAX}', '-o', 'pan', 'pan.c']):
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True,
                                  timeout=SECONDS_MAX * PATIENCE)
            if done.returncode != 0 or not (folder / 'pan.c').exists():
                return Outcome(f'{command[0]} says: {done.stdout.strip()}', 0, 0, 0)
        output = subprocess.run(run, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                universal_newlines=True, preexec_fn=limit_time,
                                timeout=SECONDS_MAX * PATIENCE).stdout
    except subprocess.TimeoutExpired:
        return Outcome('not ended in time', 0, 0, 0)
    return judge(output, case)


ROW = '{:8} {:36} {:>11} {:>12} {:>6} {:>7}  {:8} {}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='the small cases only')
    parser.add_argument('words', nargs='*', metavar='WORD')
    options = parser.parse_args()
    for tool in ('spin', 'cc'):
        if shutil.which(tool) is None:
            print(f'skipped: {tool} is not installed')
            return SKIPPED
    chosen = [case for case in CASES
              if (case.quick or not options.quick) and
              all(word in f'{case.model} {case.name}' for word in options.words)]
    if not chosen:
        print(f'no case is called {" ".join(options.words)}')
        return 1
    os.nice(10)
    models = pathlib.Path(__file__).resolve().parent
    surprises = 0
    states = 0
    began = processor_seconds()
    print(ROW.format('model', 'case or variant', 'states', 'transitions', 'depth', 'seconds',
                     'expected', 'found'))
    for case in chosen:
        start = processor_seconds()
        # To compile a small search takes longer than the search.
        optimize = '-O0' if case.quick or case.fails else '-O2'
        with tempfile.TemporaryDirectory(prefix='alertpipe_model_') as folder:
            outcome = search(case, models, pathlib.Path(folder), optimize)
        expected = 'holds' if case.fails is None else 'fails'
        surprising = outcome.result != expected
        surprises += surprising
        states += outcome.states
        print(ROW.format(case.model, case.name, outcome.states, outcome.transitions, outcome.depth,
                         f'{processor_seconds() - start:.1f}', expected,
                         outcome.result + ('  <- SURPRISE' if surprising else '')), flush=True)
    print(f'{len(chosen)} cases, {states} states, {processor_seconds() - began:.0f} s, '
          f'{surprises} surprises')
    return 1 if surprises else 0


if __name__ == '__main__':
    sys.exit(main())
