"""Write the verdicts that ``judging/test_stored_verdicts.py`` compares with.

    python tests/store_verdicts.py             # judge the recordings that are there anew
    python tests/store_verdicts.py --train     # and train and record them anew

Run it after a change that is meant to change verdicts, and read the difference before it is
committed. The recordings are those of all programs of ``rules/test_trainings.py``, a frame at every
tenth step, so that they stay small.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import sys
from typing import Any

from tb_gradients.frames import Frame
from tb_gradients.judging import judge
from tb_gradients.reading.event_files import EventFileSource

HERE = pathlib.Path(__file__).resolve().parent
RECORDED = HERE / "judging" / "recorded"
VERDICTS = HERE / "judging" / "verdicts.json"
CADENCE = 10


def verdicts() -> dict[str, Any]:
    """Run -> its flags and errors, as the report has them, of every recorded training."""
    source = EventFileSource(str(RECORDED))
    found = {}
    for run in source.runs():
        verdict = judge(source.read(run).recordings)
        found[run] = {
            "flags": [_without_snippets(flag.to_json()) for flag in verdict.flags],
            "errors": [error.to_json() for error in verdict.errors],
        }
    return found


def _without_snippets(flag: dict[str, Any]) -> dict[str, Any]:
    """They follow from the fixes."""
    return {key: value for key, value in flag.items() if key != "snippets"}


def train() -> None:
    """Record every program once."""
    sys.path.insert(0, str(HERE / "rules"))
    import test_trainings
    from recordings import write_run

    programs = {
        **{f"{name}, sick": case.faulty for name, case in test_trainings.CASES.items()},
        **{f"{name}, repaired": case.repaired for name, case in test_trainings.CASES.items()},
        **{f"{name}, healthy": program for name, program in test_trainings.HEALTHY.items()},
    }
    shutil.rmtree(RECORDED, ignore_errors=True)
    for name, program in programs.items():
        recording = test_trainings.trained(program)[CADENCE]
        frames = [
            Frame(int(step), float(step), values, context)
            for step, values, context in zip(
                recording.steps, recording.values, recording.context, strict=True
            )
        ]
        write_run(RECORDED / re.sub(r"\W+", "_", name), recording.table, frames)


def main() -> None:
    if "--train" in sys.argv[1:]:
        train()
    text = json.dumps(verdicts(), indent=1, sort_keys=True, ensure_ascii=False)
    VERDICTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
