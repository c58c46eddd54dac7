# SPDX-License-Identifier: Apache-2.0
"""The shared library exports its public interface and nothing else.

Run as: symbols_test.py <nm> <library>.
"""

import re
import subprocess
import sys
import unittest

OF_A_CLASS = ('construction vtable for ', 'guard variable for ', 'non-virtual thunk to ',
              'typeinfo for ', 'typeinfo name for ', 'virtual thunk to ', 'vtable for ', 'VTT for ')
INTERNAL = re.compile(r'alertpipe::(core|os|uv|internal|\(anonymous namespace\))::')


def is_public(symbol):
    for prefix in OF_A_CLASS:
        symbol = symbol[len(prefix):] if symbol.startswith(prefix) else symbol
    # Internal types may be named in the parameters of a public symbol, not in front of them.
    name = symbol.split('(', 1)[0] if not symbol.startswith('alertpipe::(') else symbol
    return name.startswith('alertpipe::') and not INTERNAL.match(name)


class SymbolsTest(unittest.TestCase):
    nm = ''
    library = ''

    def test_library(self):
        listing = subprocess.run([self.nm, '-D', '--defined-only', '-C', self.library], check=True,
                                 stdout=subprocess.PIPE, universal_newlines=True).stdout
        symbols = [line.split(' ', 2)[2] for line in listing.splitlines()]
        self.assertIn('alertpipe::Version()', symbols)
        self.assertEqual([], [symbol for symbol in symbols if not is_public(symbol)])

    def test_self(self):
        for symbol in ('alertpipe::Version()', 'vtable for alertpipe::Endpoint',
                       'alertpipe::Alert::Alert(alertpipe::internal::EndpointImpl*)'):
            self.assertTrue(is_public(symbol), symbol)
        for symbol in ('alertpipe::core::Outbox::Add()', 'typeinfo for alertpipe::os::Pipe',
                       'alertpipe::uv::Pump::Pump(int)', 'std::vector<int>::reserve(unsigned long)',
                       'alertpipe::internal::EndpointImpl::Send()', 'absl::Status::Status()',
                       'alertpipe::(anonymous namespace)::Call()', 'uv_run', 'alertpipe_c_symbol',
                       'std::vector<alertpipe::Peer>::~vector()'):
            self.assertFalse(is_public(symbol), symbol)


if __name__ == '__main__':
    SymbolsTest.library = sys.argv.pop()
    SymbolsTest.nm = sys.argv.pop()
    unittest.main()
