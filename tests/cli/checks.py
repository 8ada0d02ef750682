# SPDX-License-Identifier: Apache-2.0
"""What the tests of the program in Python share: every wrong thing is a line, and all are looked at before the end."""
import sys

checks = failures = 0


def check(good, what):
    global checks, failures
    checks, failures = checks + 1, failures + (not good)
    if not good:
        print("FAILED:", what)


def finish():
    print(f"{checks - failures} passed, {failures} failed")
    sys.exit(failures > 0)
