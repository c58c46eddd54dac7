# SPDX-License-Identifier: Apache-2.0
"""Tables of results: medians with their spread, and ratios taken within each round.

Run as: report.py FILE..., files of lines of JSON as bench.py prints them.
"""

import collections
import json
import statistics
import sys

import tabulate

OURS = 'alertpipe'

Case = collections.namedtuple('Case', 'workload workers bytes capacity')


def load(paths):
    results = []
    for path in paths:
        with open(path, encoding='utf-8') as file:
            results += [json.loads(line) for line in file if line.strip()]
    return results


def contender(transport, linger=0, run=None):
    """A transport and what it was measured with: what a row or a line is about."""
    name = transport if run is None else f'{transport} of {run}'
    return f'{name} lingering {linger}' if linger else name


def is_ours(name):
    return name.split()[0] == OURS


def by_case(results):
    """{case: {contender: its results, in the order of the rounds}}"""
    cases = {}
    for result in results:
        case = Case(*(result[field] for field in Case._fields))
        name = contender(result['transport'], result['linger'], result.get('run'))
        cases.setdefault(case, {}).setdefault(name, []).append(result)
    return cases


class Spread:
    """A median and what it was taken from."""

    def __init__(self, values):
        self.median = statistics.median(values)
        self.least = min(values)
        self.most = max(values)

    def text(self, form):
        return f'{self.median:{form}} ({self.least:{form}} .. {self.most:{form}})'


def spread(results, field):
    """None where the workload has no such figure."""
    values = [result[field] for result in results if result[field] is not None]
    return Spread(values) if values else None


def ratio(ours, theirs, field):
    """ours / theirs, round by round. None where there is nothing to compare."""
    values = [a[field] / b[field] for a, b in zip(ours, theirs) if a[field] and b[field]]
    return Spread(values) if values else None


def size_text(number):
    for unit, factor in (('MB', 1048576), ('KB', 1024)):
        if number >= factor and number % factor == 0:
            return f'{number // factor} {unit}'
    return f'{number} B'


def title(case):
    return (f'{case.workload}, {case.workers} workers, {size_text(case.bytes)}, '
            f'pipes of {size_text(case.capacity)}')


COLUMNS = (
    ('alerts/s', 'alerts_per_second', ',.0f'),
    ('MB/s', 'megabytes_per_second', ',.1f'),
    ('packets/alert', 'packets_per_alert', '.4f'),
    ('p50 us', 'p50_us', '.1f'),
    ('p99 us', 'p99_us', '.1f'),
    ('p99.9 us', 'p999_us', '.1f'),
)
RATIOS = (('alerts/s', 'alerts_per_second'), ('p50', 'p50_us'))


def pairs(contenders):
    """[(one of ours, one of the others, the results of both)]"""
    return [(ours, name, contenders[ours], results) for ours in filter(is_ours, contenders)
            for name, results in contenders.items() if not is_ours(name)]


def one_case(contenders):
    """A row for each contender, with all figures."""
    rows = []
    for name, results in contenders.items():
        row = {'transport': name}
        for heading, field, form in COLUMNS:
            figure = spread(results, field)
            if figure is None:
                continue
            row[heading] = f'{figure.median:{form}}'
            if field == 'alerts_per_second':
                row['(min .. max)'] = f'{figure.least:{form}} .. {figure.most:{form}}'
        for ours, other, our_results, _ in pairs(contenders):
            for heading, field in RATIOS:
                figure = ratio(our_results, results, field) if other == name else None
                if figure is not None:
                    row[f'{ours}/this: {heading}'] = figure.text('.2f')
        rows.append(row)
    return rows


def many_cases(cases):
    """A row for each case, with what it is about: alerts/s of each contender, and ratios."""
    rows = []
    several = len({case.capacity for case in cases}) > 1
    for case, contenders in cases.items():
        row = {'workers': case.workers, 'bytes': size_text(case.bytes)}
        if several:
            row['pipes'] = size_text(case.capacity)
        for name, results in contenders.items():
            row[name] = spread(results, 'alerts_per_second').text(',.0f')
        for ours, name, our_results, results in pairs(contenders):
            figure = ratio(our_results, results, 'alerts_per_second')
            if figure is not None:
                row[f'{ours}/{name}'] = figure.text('.2f')
        rows.append(row)
    return rows


def table(rows):
    # Every row has all columns, also those that only later rows fill.
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    cells = [[row.get(heading, '') for heading in headings] for row in rows]
    align = ['left'] + ['right'] * (len(headings) - 1)
    return tabulate.tabulate(cells, headers=headings, tablefmt='github', colalign=align,
                             disable_numparse=True)


def text(results):
    cases = by_case(results)
    parts = []
    for workload in dict.fromkeys(case.workload for case in cases):
        own = {case: found for case, found in cases.items() if case.workload == workload}
        if len(own) == 1:
            case, contenders = next(iter(own.items()))
            parts.append(title(case) + '\n\n' + table(one_case(contenders)))
        else:
            parts.append(f'{workload}: alerts/s, median (min .. max)\n\n' + table(many_cases(own)))
    return '\n\n'.join(parts)


if __name__ == '__main__':
    if len(sys.argv) < 2:
        print('usage: ./dev bench report FILE...', file=sys.stderr)
        sys.exit(2)
    print(text(load(sys.argv[1:])))
