# SPDX-License-Identifier: Apache-2.0
"""Every source file is in a list of the build: one that nobody lists is neither built nor tested.

Run as: listed_test.py <repository>.
"""

import pathlib
import sys
import tempfile
import unittest

FOLDERS = ('include', 'lib', 'tools', 'test', 'bench', 'examples')
# Where a list names files by what comes before this.
SHORT = ('_test.cc', '_bench.cc')


def is_listed(path, root):
    """Whether a meson.build between the file and the root names it, from its own folder on."""
    for folder in path.parents:
        build = folder / 'meson.build'
        if build.is_file():
            name = path.relative_to(folder).as_posix()
            names = {name} | {path.name[:-len(end)] for end in SHORT if name.endswith(end)}
            text = build.read_text(encoding='utf-8')
            if any(f"'{name}'" in text for name in names):
                return True
        if folder == root:
            return False
    return False


def not_listed(root):
    """The files that are missing, and how many were looked at."""
    missing = []
    files = 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob('*')):
            if path.suffix == '.cc' or (path.suffix == '.h' and folder == 'include'):
                files += 1
                if not is_listed(path, root):
                    missing.append(path.relative_to(root).as_posix())
    return missing, files


class ListedTest(unittest.TestCase):
    root = pathlib.Path()

    def test_repository(self):
        missing, files = not_listed(self.root)
        self.assertGreater(files, 0, f'no sources below {self.root}')
        self.assertEqual([], missing)

    def test_self(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in (
                    ('lib/meson.build', "files('core/a.cc')"),
                    ('lib/core/a.cc', ''),
                    ('lib/core/forgotten.cc', ''),
                    ('test/meson.build', "{'core': ['packet']}"),
                    ('test/core/packet_test.cc', ''),
                    ('test/core/forgotten_test.cc', ''),
                    ('include/meson.build', "['alertpipe/a.h']"),
                    ('include/alertpipe/a.h', ''),
                    ('include/alertpipe/forgotten.h', '')):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding='utf-8')
            self.assertEqual(
                (['include/alertpipe/forgotten.h', 'lib/core/forgotten.cc',
                  'test/core/forgotten_test.cc'], 6),
                not_listed(root))


if __name__ == '__main__':
    ListedTest.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()
