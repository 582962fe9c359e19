"""Claim the folder of a run before its first frame, so that it hides no other run.

In:  the ``log_dir`` that the user gave.
Out: the folder that the run is written to, from its first frame on.
Does not know what is written.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from tb_gradients.judging.words import plural
from tb_gradients.training.files import choose_folder, claimed, steps_in

logger = logging.getLogger("tb_gradients")


class RunFolder:
    """Where one run is written.

    Args:
        log_dir: as the user gave it.

    Attributes:
        log_dir: the same as a text.
        path: the folder of the run. It may change with the first frame.
        expects_others: a tuner's trials share a ``log_dir``, so a run that is there already is no
            reason for a warning.

    Raises:
        LogDirError: the folder is not writable.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = os.fspath(log_dir)
        self.path = choose_folder(log_dir)
        self.expects_others = False
        self._claimed = False

    @contextlib.contextmanager
    def claim(self, step: int, *, taken: bool) -> Iterator[None]:
        """Within the context the run opens its event file. Once claimed, the folder stays.

        Args:
            step: of the first frame.
            taken: whether another monitor of this process is writing to the folder now.
        """
        if self._claimed:
            yield
            return
        with claimed(self.path, step, taken=taken) as folder:
            if folder != self.path:
                level = logging.INFO if self.expects_others else logging.WARNING
                found = plural(steps_in(self.path), "step")
                logger.log(
                    level,
                    "tb_gradients: %s holds a run of %s already; this run is written to %s. "
                    "To choose its name, pass a different folder for each run",
                    self.log_dir,
                    found,
                    folder,
                )
                self.path = folder
            yield
        self._claimed = True
