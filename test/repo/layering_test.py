# SPDX-License-Identifier: Apache-2.0
"""Includes run one way: facade -> uv -> {core, os}, facade -> os, all of them -> public headers.

Run as: layering_test.py <repository>. What a layer may include is said in ALLOWED; the self-test
feeds one violation of each kind to the same check.
"""

import pathlib
import re
import sys
import tempfile
import unittest

# Layer: what the paths of its includes may start with. Folders of lib/ are written with a slash at
# the end; 'facade' are the headers that lie in lib/ itself. Standard and system headers are not
# listed: they are what is in none of the GUARDED places.
ALLOWED = {
    'public': {'alertpipe/', 'absl/'},
    'core': {'core/', 'alertpipe/', 'absl/'},
    'os': {'os/', 'alertpipe/', 'absl/'},
    'uv': {'uv/', 'core/', 'os/', 'alertpipe/', 'absl/', 'uv.h'},
    'facade': {'facade', 'uv/', 'core/', 'os/', 'alertpipe/', 'absl/', 'uv.h'},
}
GUARDED = ('core/', 'os/', 'uv/', 'alertpipe/', 'absl/', 'uv.h')

# The core does no I/O and owns no clock, so it has no use for what declares them.
NOT_IN_CORE = {
    'absl/synchronization/', 'absl/time/clock.h', 'chrono', 'condition_variable', 'ctime', 'fcntl.h',
    'filesystem', 'fstream', 'iostream', 'mutex', 'poll.h', 'signal.h', 'sys/epoll.h',
    'sys/socket.h', 'sys/time.h', 'sys/wait.h', 'thread', 'time.h', 'unistd.h',
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """The layer of a file, given relative to the repository, or None for a folder without a rule."""
    if path.parts[0] == 'include':
        return 'public'
    if len(path.parts) == 2:
        return 'facade'
    return path.parts[1] if path.parts[1] in ALLOWED else None


def place_of(include, quoted):
    for place in GUARDED:
        if include == place or (place.endswith('/') and include.startswith(place)):
            return place
    return 'facade' if quoted else None


def violations(root):
    """One line for each include that breaks the rule, and how many files were read."""
    found = []
    files = 0
    for top in ('include', 'lib'):
        for path in sorted((root / top).rglob('*')):
            if path.suffix not in ('.h', '.cc'):
                continue
            files += 1
            relative = path.relative_to(root)
            layer = layer_of(relative)
            if layer is None:
                found.append(f'{relative}: lies in a folder that has no rule')
                continue
            for mark, include in INCLUDE.findall(path.read_text(encoding='utf-8')):
                place = place_of(include, mark == '"')
                if place is not None and place not in ALLOWED[layer]:
                    found.append(f'{relative}: {layer} includes {include}')
                elif place == 'facade' and not (root / 'lib' / include).is_file():
                    found.append(f'{relative}: {include} is not written from lib/ on')
                elif layer == 'core' and any(
                        include == name or (name.endswith('/') and include.startswith(name))
                        for name in NOT_IN_CORE):
                    found.append(f'{relative}: core does no I/O and has no clock: {include}')
    return found, files


class SelfTest(unittest.TestCase):
    """The check finds what it is for, and nothing in a tree that obeys."""

    def check(self, tree):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in tree.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding='utf-8')
            found, files = violations(root)
            self.assertEqual(files, len(tree))
            return found

    def test_obeys(self):
        self.assertEqual([], self.check({
            'include/alertpipe/a.h': '#include <absl/time/time.h>\n#include <string>\n',
            'lib/core/a.cc': '#include "core/a.h"\n#include <alertpipe/a.h>\n#include <cstring>\n',
            'lib/core/a.h': '#include "absl/strings/string_view.h"\n',
            'lib/os/a.cc': '#include <unistd.h>\n#include <alertpipe/a.h>\n// #include "uv/a.h"\n',
            'lib/uv/a.h': '#include <uv.h>\n#include "core/a.h"\n#include "os/a.h"\n',
            'lib/impl.h': '#include "uv/a.h"\n#include "core/a.h"\n#include "os/a.h"\n',
            'lib/impl.cc': '#include "impl.h"\n',
        }))

    def test_each_violation(self):
        for name, text in (
                ('include/alertpipe/a.h', '#include <uv.h>'),
                ('include/alertpipe/a.h', '#include "core/a.h"'),
                ('include/alertpipe/a.h', '#include "a.h"'),
                ('lib/core/a.cc', '#include "os/a.h"'),
                ('lib/core/a.cc', '  #  include <os/a.h>'),
                ('lib/core/a.cc', '#include "uv/a.h"'),
                ('lib/core/a.cc', '#include <uv.h>'),
                ('lib/core/a.cc', '#include "impl.h"'),
                ('lib/core/a.cc', '#include <unistd.h>'),
                ('lib/core/a.cc', '#include <chrono>'),
                ('lib/core/a.cc', '#include <absl/time/clock.h>'),
                ('lib/os/a.cc', '#include "core/a.h"'),
                ('lib/os/a.cc', '#include "uv/a.h"'),
                ('lib/os/a.cc', '#include <uv.h>'),
                ('lib/os/a.cc', '#include "impl.h"'),
                ('lib/uv/a.cc', '#include "impl.h"'),
                ('lib/uv/a.cc', '#include "a.h"'),
                ('lib/impl.cc', '#include "gone.h"'),
                ('lib/other/a.cc', '')):
            with self.subTest(name=name, text=text):
                self.assertEqual(1, len(self.check({name: text + '\n'})))


class RepositoryTest(unittest.TestCase):
    root = pathlib.Path()

    def test_repository(self):
        found, files = violations(self.root)
        self.assertGreater(files, 0, f'no sources below {self.root}')
        self.assertEqual([], found)


if __name__ == '__main__':
    RepositoryTest.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()
