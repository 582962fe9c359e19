"""Set up .venv and run the demo: small healthy and faulty models, then TensorBoard on them.

    python3 scripts/demo.py                # the same as `tb-gradients demo --serve`
    python3 scripts/demo.py --port 7007    # with any other option of `tb-gradients demo`

Ctrl-C ends it.
"""

from __future__ import annotations

import sys

import environment


def main() -> int:
    environment.prepare("demo")
    command = [str(environment.PROGRAMS / "tb-gradients"), "demo", "--serve"]
    return environment.call([*command, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
