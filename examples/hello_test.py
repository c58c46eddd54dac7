# SPDX-License-Identifier: Apache-2.0
"""Runs the example of the README: four workers reply to the last one.

Run as: hello_test.py <hello>.
"""

import re
import subprocess
import sys

run = subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
line = re.compile(r'(\d+) replied: hello to you too, you said from the last of us')
pids = {line.fullmatch(text).group(1) for text in run.stdout.splitlines()}
assert len(run.stdout.splitlines()) == len(pids) == 4, run.stdout
