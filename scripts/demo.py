"""Set up .venv and run the demo: small healthy and sick models, then TensorBoard on them.

python3 scripts/demo.py                 # the same as `tb-gradients demo --serve`
python3 scripts/demo.py --logdir DIR    # any options of `tb-gradients demo`
"""

from __future__ import annotations

import sys

import environment


def main() -> int:
    environment.prepare("demo")
    options = sys.argv[1:] or ["--serve"]
    return environment.call([str(environment.PROGRAMS / "tb-gradients"), "demo", *options])


if __name__ == "__main__":
    sys.exit(main())
