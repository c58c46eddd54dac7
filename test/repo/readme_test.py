# SPDX-License-Identifier: Apache-2.0
"""The example in README.md is examples/hello.cc, which is built and run by the suite, to the letter.
What docs/guide.md shows of an example is a part of it.

Run as: readme_test.py <repository>.
"""

import pathlib
import re
import sys
import unittest

EXAMPLE = re.compile(r'^<!-- example: hello -->\n```cpp\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PART = re.compile(r'^<!-- example: (\S+) -->\n```cpp\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class ReadmeTest(unittest.TestCase):
    maxDiff = None
    root = pathlib.Path()

    def test_example(self):
        readme = (self.root / 'README.md').read_text(encoding='utf-8')
        source = (self.root / 'examples' / 'hello.cc').read_text(encoding='utf-8')
        shown = EXAMPLE.findall(readme)
        self.assertEqual(1, len(shown), 'README.md has no example marked as hello')
        self.assertIn('int main', source)
        licence, shown_source = source.split('\n', 1)
        self.assertIn('SPDX', licence)
        self.assertEqual(shown_source, shown[0])
        lines = [line for line in shown_source.splitlines() if line]
        self.assertLessEqual(len(lines), 25, 'the example is to be short')

    def test_parts_in_the_guide(self):
        guide = (self.root / 'docs' / 'guide.md').read_text(encoding='utf-8')
        shown = PART.findall(guide)
        self.assertEqual(guide.count('<!-- example'), len(shown))
        for name, text in shown:
            self.assertIn(text, (self.root / 'examples' / name).read_text(encoding='utf-8'))


if __name__ == '__main__':
    ReadmeTest.root = pathlib.Path(sys.argv.pop(1))
    unittest.main()
