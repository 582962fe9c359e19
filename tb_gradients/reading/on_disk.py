"""The numbers of frames that stay in their event files until they are asked for.

In:  where in which file each frame begins.
Out: ``FramesOnDisk``, which is read like an array [frames, variables, statistics].
Does not know about event files: their checksums were checked when the places were found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from tb_gradients.frames import FloatArray

Open = Callable[[str], IO[bytes]]


def open_local(path: str) -> IO[bytes]:
    """A file of this machine."""
    return pathlib.Path(path).open("rb")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the numbers of one frame are.

    Attributes:
        shape: of the array, [variables, statistics].
        range: float32 [2, statistics], the smallest and the largest number of each statistic; NaN
            where all are NaN.
    """

    path: str
    position: int
    shape: tuple[int, ...]
    range: FloatArray

    @classmethod
    def of(cls, path: str, position: int, values: FloatArray) -> Place:
        """Of numbers that are known, and can be read again there."""
        ends = [np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)]
        return cls(path, position, values.shape, np.array(ends, np.float32))


class FramesOnDisk:
    """Frames of one shape, read one at a time: each time that somebody goes through them."""

    def __init__(
        self, places: Sequence[Place], open_file: Open, ranges: FloatArray | None = None
    ) -> None:
        """
        Args:
            ranges: float32 [2, statistics]; a number outside of them is read as NaN.
        """
        self._places, self._open, self._ranges = places, open_file, ranges
        self.shape = (len(places), *places[0].shape)
        self.dtype = np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Of memory: the places alone."""
        return sum(place.range.nbytes for place in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[FloatArray]:
        return self._read(self._places)

    def _read(self, places: Iterable[Place]) -> Iterator[FloatArray]:
        path, stream = "", contextlib.ExitStack()
        with stream:
            for place in places:
                if place.path != path:
                    stream.close()
                    path, file = place.path, stream.enter_context(self._open(place.path))
                file.seek(place.position)
                content = file.read(4 * int(np.prod(place.shape)))
                values = np.frombuffer(content, "<f4").reshape(place.shape)
                if self._ranges is not None:
                    outside = (values < self._ranges[0]) | (values > self._ranges[1])
                    values = np.where(outside, np.float32(np.nan), values)
                yield values

    def __getitem__(self, key: Any) -> Any:
        """As of an array; what is not asked for of a frame is not kept."""
        frames, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if frames is Ellipsis:  # of every frame what it says
            frames, rest = slice(None), key if isinstance(key, tuple) else ()
        if isinstance(frames, (int, np.integer)):
            (values,) = self._read([self._places[int(frames)]])
            return values[rest]
        chosen = np.arange(len(self))[frames]
        places = [self._places[i] for i in chosen]
        if not places:
            of_none = (slice(None), *rest)
            return np.zeros((0, *self.shape[1:]), np.float32)[of_none]
        return np.stack([values[rest].copy() for values in self._read(places)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype)
