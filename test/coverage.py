# SPDX-License-Identifier: Apache-2.0
"""What the tests cover of the library, from what a build with clang's counters has written.

Run as: coverage.py <repository> <build folder>, after the tests; ./dev coverage does all of it.
The counters of each program are one file, mapped by all of its processes (LLVM_PROFILE_FILE with
%c), so that what workers have done counts however they ended.

The core has to be covered whole, lines and branches, except for what coverage_exceptions.txt lists
with a reason; an exception that is covered after all (unless its reason begins with "race:"), or
gone, is an error as well. Of the rest a
share of the lines is enough. Two kinds of branches are never counted: that a check fails, and that
a switch without default finds no case (the compiler sees to it that there is one for each value).
Exits with 1 when a bar is missed.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

CORE = 'lib/core'
REST_MIN_PERCENT = 95.0
# Which folder's line of the table a file belongs to: the first that fits.
FOLDERS = (CORE, 'lib/os', 'lib/uv', 'lib', 'include')
# The file of the macro for checks, to which its branches belong.
CHECKS = 'lib/core/check.h'
EXCEPTIONS = 'test/coverage_exceptions.txt'


class Missed(collections.namedtuple('Missed', 'path line what text')):
    """A line, or one way of a branch, that nothing has taken. `what` is empty for a line."""

    def __str__(self):
        return f'{self.path}:{self.line}: {self.what or "not reached"}: {self.text}'


class Coverage:
    """Counts by file and line, and by file and branch (line, column, end line, end column)."""

    def __init__(self, root):
        self.root = root
        self.lines = {}
        self.branches = {}

    def read_lines(self, lcov):
        counts = {}
        for entry in lcov.splitlines():
            if entry.startswith('SF:'):
                path = self.relative(entry[3:])
                counts = self.lines.setdefault(path, {}) if folder_of(path) else {}
            elif entry.startswith('DA:'):
                line, count = entry[3:].split(',')
                counts[int(line)] = int(count)

    def read_branches(self, exported):
        for file in json.loads(exported)['data'][0]['files']:
            path = self.relative(file['filename'])
            if not folder_of(path):
                continue
            counts = self.branches.setdefault(path, {})
            for branch in file['branches']:
                # Once for each instance of a template.
                ways = counts.setdefault(tuple(branch[:4]), [0, 0])
                ways[0] += branch[4]
                ways[1] += branch[5]

    def relative(self, path):
        return os.path.relpath(os.path.realpath(path), self.root)

    def text(self, path):
        return (self.root / path).read_text(encoding='utf-8').splitlines()

    def missed_lines(self, path):
        text = self.text(path)
        return [Missed(path, line, '', text[line - 1].strip())
                for line, count in sorted(self.lines[path].items()) if count == 0]

    def missed_branches(self, path):
        text = self.text(path)
        missed = []
        for (line, start, end_line, end), ways in sorted(self.branches.get(path, {}).items()):
            if self.lines[path].get(line) == 0 or text[line - 1].strip().startswith('switch ('):
                continue  # a line that is not reached is named already
            condition = text[line - 1][start - 1:end - 1 if end_line == line else None]
            for count, name in zip(ways, ('true', 'false')):
                if count == 0:
                    missed.append(Missed(path, line, f'"{condition}" was never {name}',
                                         text[line - 1].strip()))
        return missed


def run(*command):
    """Standard output. An inline function that one program uses and another does not has a record
    in each, of which one matches no counter: that warning says nothing."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in done.stderr.decode().splitlines():
        if not line.endswith('functions have mismatched data'):
            print(line, file=sys.stderr)
    if done.returncode != 0:
        sys.exit(f'{command[0]} has failed: {done.returncode}')
    return done.stdout.decode()


def measure(root, build):
    profiles = sorted((build / 'profiles').glob('*.profraw'))
    if not profiles:
        sys.exit(f'no profiles in {build}/profiles')
    merged = build / 'coverage.profdata'
    run('llvm-profdata', 'merge', '-sparse', '-o', str(merged), *map(str, profiles))
    programs = sorted((build / 'lib').glob('libalertpipe.so')) + sorted(
        path for path in (build / 'test').glob('*_test') if path.is_file())
    objects = [str(programs[0])] + [part for path in programs[1:] for part in ('-object', str(path))]
    export = ['llvm-cov', 'export', f'-instr-profile={merged}', *objects]
    coverage = Coverage(root)
    coverage.read_lines(run(*export, '-format=lcov'))
    coverage.read_branches(run(*export, '-skip-functions', '-skip-expansions'))
    return coverage


class Exceptions:
    """Lines `file | source line | reason`; # begins a comment. A source line that ends with a brace
    stands for all up to the closing one."""

    def __init__(self, coverage, path):
        self.by_place = {}  # (file, line of it): the exception's key
        self.numbers = {}
        self.used = set()
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            if not line or line.startswith('#'):
                continue
            parts = [part.strip() for part in line.split(' | ')]
            if len(parts) != 3 or not all(parts):
                sys.exit(f'{path}:{number}: wanted "file | source line | reason"')
            self.numbers[tuple(parts[:2])] = number
            self.add(coverage, *parts[:2])
            if parts[2].startswith('race:') and tuple(parts[:2]) in self.by_place.values():
                self.used.add(tuple(parts[:2]))

    def add(self, coverage, file, wanted):
        if file not in coverage.lines:
            return
        closing = None
        for at, line in enumerate(coverage.text(file), 1):
            if line.strip() == wanted:
                self.by_place[file, at] = (file, wanted)
                if wanted.endswith('{'):
                    closing = line[:len(line) - len(line.lstrip())] + '}'
            elif closing is not None:
                self.by_place[file, at] = (file, wanted)
                if line.startswith(closing):
                    closing = None

    def cover(self, missed):
        key = self.by_place.get((missed.path, missed.line))
        if key is not None:
            self.used.add(key)
        return key is not None

    def stale(self):
        return sorted(set(self.numbers) - self.used)


def folder_of(path):
    """None for what is not the library's."""
    return next((folder for folder in FOLDERS if path.startswith(folder + '/')), None)


def percent(missed, total):
    return 100.0 if total == 0 else 100.0 * (total - missed) / total


def ranges(numbers):
    """1, 2, 3, 7 as "1-3, 7"."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ', '.join(str(a) if a == b else f'{a}-{b}' for a, b in runs)


class Verdict:
    def __init__(self, coverage, exceptions):
        self.coverage = coverage
        self.exceptions = exceptions
        self.totals = {folder: [0, 0, 0, 0] for folder in FOLDERS}  # lines, missed; branches, missed
        self.core_missed = []
        self.rest_missed = {}

    def look(self):
        for path in sorted(self.coverage.lines):
            total = self.totals[folder_of(path)]
            lines = [each for each in self.coverage.missed_lines(path) if not self.exceptions.cover(each)]
            total[0] += len(self.coverage.lines[path])
            total[1] += len(lines)
            branches = []
            if path != CHECKS:
                branches = [each for each in self.coverage.missed_branches(path)
                            if not self.exceptions.cover(each)]
                total[2] += 2 * len(self.coverage.branches.get(path, {}))
                total[3] += len(branches)
            if folder_of(path) == CORE:
                self.core_missed += lines + branches
            elif lines:
                self.rest_missed[path] = [each.line for each in lines]

    def report(self):
        """Prints it all; returns whether every bar is reached."""
        good = True
        if self.rest_missed:
            print('Lines that no test reaches, outside the core:')
            for path, lines in self.rest_missed.items():
                print(f'  {path}: {ranges(lines)}')
        for missed in self.core_missed:
            print(missed)
        print(f'{"folder":<10} {"lines":>7} {"missed":>7} {"%":>7}   '
              f'{"branches":>8} {"missed":>7} {"%":>7}   bar')
        for folder, (lines, missed, branches, ways) in self.totals.items():
            share = percent(missed, lines)
            reached = missed + ways == 0 if folder == CORE else share >= REST_MIN_PERCENT
            bar = '100 % of both' if folder == CORE else f'{REST_MIN_PERCENT:g} % of lines'
            good = good and reached
            print(f'{folder:<10} {lines:>7} {missed:>7} {share:>7.2f}   {branches:>8} {ways:>7} '
                  f'{percent(ways, branches):>7.2f}   {bar}{"" if reached else ": MISSED"}')
        print(f'{len(self.exceptions.used)} exceptions are not counted as missed ({EXCEPTIONS})')
        for key in self.exceptions.stale():
            good = False
            print(f'{EXCEPTIONS}:{self.exceptions.numbers[key]}: is covered, or is no line of '
                  f'{key[0]}: {key[1]}')
        return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('repository', type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument('build', type=lambda text: pathlib.Path(text).resolve())
    arguments = parser.parse_args()
    coverage = measure(arguments.repository, arguments.build)
    verdict = Verdict(coverage, Exceptions(coverage, arguments.repository / EXCEPTIONS))
    verdict.look()
    sys.exit(not verdict.report())


if __name__ == '__main__':
    main()
