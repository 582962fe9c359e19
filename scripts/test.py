"""Set up .venv, then run all checks and all tests.

    python3 scripts/test.py                   # everything
    python3 scripts/test.py -m "not slow"     # options go to pytest

The tests of the tab need Chromium and are skipped without it; all others need nothing
that is not installed here.
"""

from __future__ import annotations

import sys

import check
import environment


def main() -> int:
    failing = check.failing_checks()
    # A file stays on one worker, because what its tests share (a trained model, a server,
    # a built wheel) is expensive to make.
    pytest = [str(environment.PYTHON), "-m", "pytest", "-n", "auto", "--dist", "loadfile"]
    status = environment.call([*pytest, *sys.argv[1:]])
    if failing:
        print(f"Failed before the tests: {', '.join(failing)}", file=sys.stderr)
    return status or (1 if failing else 0)


if __name__ == "__main__":
    sys.exit(main())
