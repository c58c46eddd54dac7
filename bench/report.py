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

Case = collections.namedtuple('Case', 'workload workers bytes capacity linger')


def load(paths):
    results = []
    for path in paths:
        with open(path, encoding='utf-8') as file:
            results += [json.loads(line) for line in file if line.strip()]
    return results


def by_case(results):
    """{case: {transport: its results, in the order of the rounds}}"""
    cases = {}
    for result in results:
        case = Case(*(result[field] for field in Case._fields))
        cases.setdefault(case, {}).setdefault(result['transport'], []).append(result)
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
    lingering = f', lingering {case.linger}' if case.linger else ''
    return (f'{case.workload}, {case.workers} workers, {size_text(case.bytes)}, '
            f'pipes of {size_text(case.capacity)}{lingering}')


COLUMNS = (
    ('alerts/s', 'alerts_per_second', ',.0f'),
    ('MB/s', 'megabytes_per_second', ',.1f'),
    ('packets/alert', 'packets_per_alert', '.4f'),
    ('p50 us', 'p50_us', '.1f'),
    ('p99 us', 'p99_us', '.1f'),
    ('p99.9 us', 'p999_us', '.1f'),
)
RATIOS = (('alerts/s', 'alerts_per_second'), ('p50', 'p50_us'))


def one_case(transports):
    """A row for each transport, with all figures."""
    rows = []
    for name, results in transports.items():
        row = {'transport': name}
        for heading, field, form in COLUMNS:
            figure = spread(results, field)
            if figure is None:
                continue
            row[heading] = f'{figure.median:{form}}'
            if field == 'alerts_per_second':
                row['(min .. max)'] = f'{figure.least:{form}} .. {figure.most:{form}}'
        for heading, field in RATIOS:
            if name == OURS or OURS not in transports:
                continue
            figure = ratio(transports[OURS], results, field)
            if figure is not None:
                row[f'{OURS}/this: {heading}'] = figure.text('.2f')
        rows.append(row)
    return rows


def many_cases(cases):
    """A row for each case, with what it is about: alerts/s of each transport, and ratios."""
    rows = []
    for case, transports in cases.items():
        row = {'workers': case.workers, 'bytes': size_text(case.bytes)}
        for name, results in transports.items():
            row[name] = spread(results, 'alerts_per_second').text(',.0f')
        for name, results in transports.items():
            figure = ratio(transports.get(OURS, []), results, 'alerts_per_second')
            if name != OURS and figure is not None:
                row[f'{OURS}/{name}'] = figure.text('.2f')
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
            case, transports = next(iter(own.items()))
            parts.append(title(case) + '\n\n' + table(one_case(transports)))
        else:
            parts.append(f'{workload}: alerts/s, median (min .. max)\n\n' + table(many_cases(own)))
    return '\n\n'.join(parts)


if __name__ == '__main__':
    if len(sys.argv) < 2:
        print('usage: ./dev bench report FILE...', file=sys.stderr)
        sys.exit(2)
    print(text(load(sys.argv[1:])))
