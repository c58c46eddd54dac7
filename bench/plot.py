# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: alerts per second against size and against workers, a line for each contender.

Run as: plot.py FILE... PICTURE, files of lines of JSON as bench.py prints them; the ending of
PICTURE says its format (svg, png, pdf). Points are medians, and bars around them reach from the
least to the most. What was measured with one size and one number of workers alone becomes bars.
"""

import collections
import itertools
import sys

import matplotlib
matplotlib.use('Agg')
from matplotlib import pyplot, ticker  # pylint: disable=wrong-import-position

import report  # pylint: disable=wrong-import-position

# Text stays text, and the same results make the same file.
matplotlib.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'alertpipe'})

INCHES = (9, 4.5)
SIZE = 'data of an alert'
WORKERS = 'workers'
DASHES = ('-', '--', ':', '-.')
MARKERS = 'os^Dv'

# `points` is {contender: [(x, results)]}; bars have no label, and one point each.
Panel = collections.namedtuple('Panel', 'title label points')


def panels(cases):
    found = []
    for workload, capacity in dict.fromkeys((case.workload, case.capacity) for case in cases):
        own = {case: results for case, results in cases.items()
               if (case.workload, case.capacity) == (workload, capacity)}
        found += panels_of(own, f'{workload}, %s, pipes of {report.size_text(capacity)}')
    return found


def panels_of(cases, title):
    """Those of one workload: against size for each number of workers, and the other way round."""
    sizes = sorted({case.bytes for case in cases})
    workers = sorted({case.workers for case in cases})
    found = []
    for number in workers:
        own = {case: results for case, results in cases.items() if case.workers == number}
        if len({case.bytes for case in own}) > 1:
            found.append(Panel(title % f'{number} workers', SIZE, points(own, 'bytes')))
    for size in sizes:
        own = {case: results for case, results in cases.items() if case.bytes == size}
        if len({case.workers for case in own}) > 1:
            found.append(Panel(title % report.size_text(size), WORKERS, points(own, 'workers')))
    if found:
        return found
    return [Panel(title % f'{case.workers} workers, {report.size_text(case.bytes)}', None,
                  points({case: results}, 'workers')) for case, results in cases.items()]


def points(cases, field):
    found = {}
    for case in sorted(cases, key=lambda case: getattr(case, field)):
        for name, results in cases[case].items():
            found.setdefault(name, []).append((getattr(case, field), results))
    return found


def styles(cases):
    """{contender: how it looks}: a colour for each transport, dashes for those that linger, and the
    marker tells runs apart."""
    found = {}
    counts = {field: {} for field in ('transport', 'linger', 'run')}
    for result in itertools.chain(*(results for contenders in cases.values()
                                    for results in contenders.values())):
        place = {field: seen.setdefault(result.get(field), len(seen))
                 for field, seen in counts.items()}
        ours = result['transport'] == report.OURS
        name = report.contender(result['transport'], result['linger'], result.get('run'))
        found[name] = {
            'color': f'C{place["transport"] % 10}',
            'linestyle': DASHES[place['linger'] % len(DASHES)],
            'marker': MARKERS[place['run'] % len(MARKERS)],
            'linewidth': 2.5 if ours else 1.3,
            'zorder': 3 if ours else 2,
        }
    return found


def draw(axes, panel, looks):
    axes.set_title(panel.title)
    axes.set_ylabel('alerts per second')
    if panel.label is None:
        draw_bars(axes, panel, looks)
    else:
        draw_lines(axes, panel, looks)
    axes.grid(True, which='major', alpha=0.3)


def draw_lines(axes, panel, looks):
    for name, line in panel.points.items():
        medians, spread = figures(line)
        axes.errorbar([x for x, _ in line], medians, yerr=spread, capsize=3, markersize=5,
                      elinewidth=1, label=name, **looks[name])
    values = sorted({x for line in panel.points.values() for x, _ in line})
    axes.set_xlabel(panel.label)
    axes.set_xscale('log')
    axes.set_xticks(values, [report.size_text(x) if panel.label == SIZE else str(x)
                             for x in values])
    axes.set_yscale('log')
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=50))
    axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=''))
    axes.minorticks_off()
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))


def draw_bars(axes, panel, looks):
    rates = []
    for index, (name, line) in enumerate(panel.points.items()):
        medians, spread = figures(line)
        rates += medians
        axes.bar(index, medians, yerr=spread, capsize=4, color=looks[name]['color'])
    axes.set_xticks(range(len(panel.points)), list(panel.points), rotation=20, ha='right')
    # Bars are compared by their lengths, unless that would hide the shorter ones.
    if max(rates) > 10 * min(rates):
        axes.set_yscale('log')
    axes.yaxis.set_major_formatter(ticker.EngFormatter(sep=''))


def figures(line):
    """The medians of a line, and how far its results lie below and above them."""
    found = [report.spread(results, 'alerts_per_second') for _, results in line]
    return ([figure.median for figure in found],
            [[figure.median - figure.least for figure in found],
             [figure.most - figure.median for figure in found]])


def main(paths, picture):
    cases = report.by_case(report.load(paths))
    found = panels(cases)
    if not found:
        sys.exit('there are no results in ' + ', '.join(paths))
    looks = styles(cases)
    figure, grid = pyplot.subplots(len(found), 1, squeeze=False,
                                   figsize=(INCHES[0], INCHES[1] * len(found)))
    for axes, panel in zip(grid[:, 0], found):
        draw(axes, panel, looks)
    figure.tight_layout()
    figure.savefig(picture, metadata={'Date': None} if picture.endswith('.svg') else None)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        print('usage: ./dev bench plot FILE... PICTURE', file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1:-1], sys.argv[-1])
