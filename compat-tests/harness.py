"""What the suites in Python share."""

import sys
import time
import traceback

TIMEOUT_S = 30


def eventually(condition, timeout_s=TIMEOUT_S):
    """Waits for what a broker may do after its answer; returns what the condition gave."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)
    return value


def run_tests(tests, left_out=()):
    """Runs (name, function) pairs, a line each, and ends the process; left_out are those that the short form has not."""
    failed = 0
    for name, function in tests:
        if name in left_out:
            print(f"skip {name} (short form)", flush=True)
            continue
        start, failure = time.monotonic(), ""
        try:
            function()
        except Exception:  # every test gets its line
            failed += 1
            failure = "\n" + traceback.format_exc()
        print(f"{'FAIL' if failure else 'ok  '} {name} {time.monotonic() - start:.2f} s{failure}", flush=True)
    sys.exit(failed > 0)
