"""Look for inputs that reach new lines of a reader, and keep them.

    pip install atheris
    python benchmarks/guided_fuzzing.py lane                       # ten minutes
    python benchmarks/guided_fuzzing.py folder -max_total_time=60  # options go to libFuzzer

``fuzzing.py`` chooses at random. Here atheris chooses, which sees the lines that an input reaches:
the bytes that it makes are the choices of ``tests/fuzzing/readers.py``. What reaches something new
is kept in ``tests/fuzzing/corpus``, where the next run begins and where CI tries all of it. An
input that fails, or takes too long, is written to ``build/fuzzing``.
"""

from __future__ import annotations

import logging
import pathlib
import sys
import warnings

import atheris

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("tests", "tests/fuzzing")]
with atheris.instrument_imports(include=["tb_gradients"]):
    import readers
from choices import Choices  # noqa: E402

FAILED = ROOT / "build" / "fuzzing"
OPTIONS = ("-max_total_time=600", "-timeout=20", "-rss_limit_mb=6000", "-max_len=256")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in readers.ALL:
        sys.exit(f"Name a reader: {', '.join(map(repr, readers.ALL))}")
    name, *options = sys.argv[1:]
    read = readers.ALL[name]
    kept = ROOT / "tests" / "fuzzing" / "corpus" / name.replace(" ", "_")
    for folder in (kept, FAILED):
        folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    arguments = [sys.argv[0], *OPTIONS, f"-artifact_prefix={FAILED}/", *options, str(kept)]
    atheris.Setup(arguments, lambda data: read(Choices(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
