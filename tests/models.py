"""Models that the tests of several files train or look at."""

from __future__ import annotations

from typing import Any

import keras


class TwoLayers(keras.Model):  # type: ignore[misc]
    """Its ``call`` alone knows which layer comes last; they are built when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="relu")
        self.outer = keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.outer(self.hidden(x))
