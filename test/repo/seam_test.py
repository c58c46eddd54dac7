# SPDX-License-Identifier: Apache-2.0
"""The library calls the system in two places only: os/calls.cc and core/memory.cc.

Whatever C function any other object refers to has to be one that calls nothing, or one of the few
that need no seam. So the fault injection (test/faults), which works at the seam, misses nothing.

Run as: seam_test.py <nm> <static library>.
"""

import re
import subprocess
import sys
import unittest

SEAM = {'os_calls.cc.o', 'core_memory.cc.o'}
# Work on memory, and what compilers refer to on their own.
CALLS_NOTHING = re.compile(
    r'(b?cmp|(mem|str|strn)[a-z]+|__(mem|str)[a-z]+_chk|(__)?snprintf(_chk)?|sig(add|empty)set'
    r'|pthread_self|__errno_location|__libc_single_threaded|__dso_handle|_GLOBAL_OFFSET_TABLE_'
    r'|__stack_chk_(fail|guard)|__(asan|ubsan|tsan|sanitizer|sancov|llvm|prof|start|stop)_\w+)')
NEEDS_NO_SEAM = {
    # Ends the process.
    'abort': 'a broken promise of the caller',
    '__assert_fail': 'the same, in headers',
    '_exit': 'a worker whose function has returned',
    # stdio, whose errors are the program's.
    'fflush': 'before a fork and before _exit',
    'stderr': 'the line of a handler that threw, and of abort',
    'fprintf': 'the same',
    '__fprintf_chk': 'the same',
    'fputc': 'the same',
    'fputs': 'the same',
    'fwrite': 'the same',
    # Never fails.
    'sysconf': 'the size of a page',
}


def is_c(symbol):
    """Neither C++ nor libuv, whose calls are its own."""
    return not symbol.startswith(('_Z', 'uv_', '_Unwind_', '__cxa_', '__gxx_'))


def outside(listing):
    """Names of C functions by object, as `nm -A -u` lists them, that should go through the seam."""
    found = []
    objects = set()
    for line in listing.splitlines():
        match = re.match(r'.*?([\w.-]+\.o):\s+[Uwv] (\S+)$', line)
        if not match:
            continue
        where, symbol = match.group(1), match.group(2).split('@')[0]
        objects.add(where)
        if where in SEAM or not is_c(symbol) or symbol in NEEDS_NO_SEAM:
            continue
        if not CALLS_NOTHING.fullmatch(symbol):
            found.append(f'{where}: {symbol}')
    return found, objects


class SeamTest(unittest.TestCase):
    nm = ''
    library = ''

    def test_library(self):
        listing = subprocess.run([self.nm, '-A', '-u', self.library], check=True,
                                 stdout=subprocess.PIPE, universal_newlines=True).stdout
        found, objects = outside(listing)
        self.assertLessEqual(SEAM, objects)
        self.assertGreater(len(objects), 30)
        self.assertEqual([], found)

    def test_self(self):
        found, objects = outside('\n'.join((
            'lib.a:os_calls.cc.o:                 U read',
            'lib.a:worker.cc.o:                 U getpid',
            'lib.a:worker.cc.o:                 U memcpy',
            'lib.a:worker.cc.o:                 U uv_poll_init',
            'lib.a:worker.cc.o:                 U __memcpy_chk@GLIBC_2.3.4',
            'lib.a:os_pipe.cc.o:                 U write@GLIBC_2.2.5',
            'lib.a:os_pipe.cc.o:                 U _ZN4absl6StatusC1Ev')))
        self.assertEqual(['worker.cc.o: getpid', 'os_pipe.cc.o: write'], found)
        self.assertEqual({'os_calls.cc.o', 'worker.cc.o', 'os_pipe.cc.o'}, objects)


if __name__ == '__main__':
    SeamTest.library = sys.argv.pop()
    SeamTest.nm = sys.argv.pop()
    unittest.main()
