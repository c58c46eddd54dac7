# SPDX-License-Identifier: Apache-2.0
"""The scripts that read what other tools have found (coverage.py, valgrind.py) miss nothing.

Run as: reports_test.py <repository>.
"""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True
import coverage  # noqa: E402
import valgrind  # noqa: E402

SOURCE = '''int F(int x) {
  if (x > 3)
    return 7;
  return x;
}
'''


class CoverageTest(unittest.TestCase):
    def verdict(self, counts, branch, exceptions, path='lib/core/a.cc'):
        """Whether all bars are reached, and the report."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(SOURCE, encoding='utf-8')
            (root / 'exceptions').write_text(exceptions, encoding='utf-8')
            found = coverage.Coverage(root)
            lines = [f'DA:{line},{count}' for line, count in enumerate(counts, 1)]
            found.read_lines('\n'.join([f'SF:{root / path}', *lines]))
            found.read_branches(json.dumps({'data': [{'files': [
                {'filename': str(root / path), 'branches': [[2, 7, 2, 12, *branch]]}]}]}))
            verdict = coverage.Verdict(found, coverage.Exceptions(found, root / 'exceptions'))
            verdict.look()
            report = io.StringIO()
            with contextlib.redirect_stdout(report):
                good = verdict.report()
            return good, report.getvalue()

    def test_all_covered(self):
        self.assertTrue(self.verdict([1, 1, 1, 1, 1], [1, 1], '')[0])

    def test_a_line(self):
        good, report = self.verdict([1, 1, 0, 1, 1], [1, 1], '')
        self.assertFalse(good)
        self.assertIn('lib/core/a.cc:3: not reached: return 7;', report)

    def test_one_way_of_a_branch(self):
        good, report = self.verdict([1, 1, 1, 1, 1], [1, 0], '')
        self.assertFalse(good)
        self.assertIn('lib/core/a.cc:2: "x > 3" was never false', report)

    def test_exceptions(self):
        exception = 'lib/core/a.cc | return 7; | a reason\n'
        self.assertTrue(self.verdict([1, 1, 0, 1, 1], [1, 1], exception)[0])
        self.assertFalse(self.verdict([1, 1, 1, 1, 1], [1, 1], exception)[0], 'it is stale')
        race = 'lib/core/a.cc | return 7; | race: a reason\n'
        self.assertTrue(self.verdict([1, 1, 1, 1, 1], [1, 1], race)[0])
        gone = 'lib/core/a.cc | return 8; | race: a reason\n'
        self.assertFalse(self.verdict([1, 1, 1, 1, 1], [1, 1], gone)[0])
        whole = 'lib/core/a.cc | int F(int x) { | a reason\n'
        self.assertTrue(self.verdict([0, 0, 0, 0, 0], [0, 0], whole)[0])

    def test_the_rest_needs_less(self):
        self.assertTrue(self.verdict([1, 1, 1, 1, 1], [1, 0], '', 'lib/os/a.cc')[0])
        good, report = self.verdict([1, 1, 0, 1, 1], [1, 1], '', 'lib/os/a.cc')
        self.assertFalse(good)
        self.assertIn('lib/os/a.cc: 3', report)

    def test_ranges(self):
        self.assertEqual('1-3, 7', coverage.ranges([1, 2, 3, 7]))


class ValgrindTest(unittest.TestCase):
    count = '==7== FILE DESCRIPTORS: 4 open (3 std) at exit.\n'
    opened = '==7== Open file descriptor 4: /dev/null\n==7==    at 0x49: open (open64.c:41)\n'
    inherited = '==7== Open file descriptor 3: /x.log\n==7==    <inherited from parent>\n==7== \n'

    def test_findings(self):
        self.assertEqual([], valgrind.findings(self.count + self.inherited))
        found = valgrind.findings(self.count + self.opened + self.inherited)
        self.assertEqual(1, len(found))
        self.assertIn('open64.c', found[0])
        lost = '==7== 7 bytes in 1 blocks are definitely lost\n==7==    at 0x48: malloc\n'
        self.assertEqual(1, len(valgrind.findings(self.count + lost)))
        ended = '==7== Process terminating with default action of signal 6 (SIGABRT)\n'
        self.assertEqual([], valgrind.findings(self.count + self.opened + ended))
        child = '==7==    by 0x15: testing::internal::NoExecDeathTest::AssumeRole() (in x)\n'
        self.assertEqual([], valgrind.findings(self.count + self.opened + child))


if __name__ == '__main__':
    sys.argv.pop(1)
    unittest.main()
