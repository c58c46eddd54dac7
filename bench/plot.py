# SPDX-License-Identifier: Apache-2.0
"""A picture of results: alerts per second against size or against workers, or as bars.

Run as: plot.py FILE... PICTURE, files of lines of JSON as bench.py prints them; the ending of
PICTURE says its format (svg, png, pdf).
"""

import sys

import matplotlib
matplotlib.use('Agg')
from matplotlib import pyplot  # pylint: disable=wrong-import-position

import report  # pylint: disable=wrong-import-position

INCHES = (7, 4.5)
SIZE = 'data of an alert'


def panels(cases):
    """[(title, label of x or None for bars, {transport: [(x, results)]})]"""
    found = []
    for workload in dict.fromkeys(case.workload for case in cases):
        own = {case: results for case, results in cases.items() if case.workload == workload}
        sizes = {case.bytes for case in own}
        workers = sorted({case.workers for case in own})
        if len(sizes) > 1:
            for number in workers:
                found.append((f'{workload}, {number} workers', SIZE, lines(
                    own, 'bytes', lambda case, number=number: case.workers == number)))
        else:
            name = f'{workload}, {report.size_text(sizes.pop())}'
            label = 'workers' if len(workers) > 1 else None
            found.append((name if label else f'{name}, {workers[0]} workers', label,
                          lines(own, 'workers', lambda case: True)))
    return found


def lines(cases, field, belongs):
    found = {}
    for case in sorted(filter(belongs, cases), key=lambda case: getattr(case, field)):
        for transport, results in cases[case].items():
            found.setdefault(transport, []).append((getattr(case, field), results))
    return found


def draw(axes, name, label, transports):
    axes.set_title(name)
    axes.set_ylabel('alerts per second')
    rates = []
    for index, (transport, points) in enumerate(transports.items()):
        figures = [report.spread(results, 'alerts_per_second') for _, results in points]
        medians = [figure.median for figure in figures]
        rates += medians
        spread = [[figure.median - figure.least for figure in figures],
                  [figure.most - figure.median for figure in figures]]
        if label is None:
            axes.bar(index, medians, yerr=spread, capsize=4)
        else:
            axes.errorbar([x for x, _ in points], medians, yerr=spread, marker='o', capsize=4,
                          label=transport)
    if label is None:
        axes.set_xticks(range(len(transports)), transports)
    else:
        scale_x(axes, label, {x for points in transports.values() for x, _ in points})
        axes.legend()
    scale_y(axes, rates)


def scale_x(axes, label, values):
    values = sorted(values)
    axes.set_xlabel(label)
    axes.set_xscale('log')
    axes.set_xticks(values, [report.size_text(x) if label == SIZE else str(x) for x in values])
    axes.minorticks_off()


def scale_y(axes, rates):
    """From zero, unless that would hide the smaller ones."""
    if max(rates) > 10 * min(rates):
        axes.set_yscale('log')
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter('{x:,.0f}')
    axes.grid(True, axis='y', which='major', alpha=0.3)


def main(paths, picture):
    found = panels(report.by_case(report.load(paths)))
    if not found:
        sys.exit('there are no results in ' + ', '.join(paths))
    figure, grid = pyplot.subplots(len(found), 1, squeeze=False,
                                   figsize=(INCHES[0], INCHES[1] * len(found)))
    for axes, panel in zip(grid[:, 0], found):
        draw(axes, *panel)
    figure.tight_layout()
    figure.savefig(picture)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        print('usage: ./dev bench plot FILE... PICTURE', file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1:-1], sys.argv[-1])
