"""What TensorBoard imports at every start, for every user: as little as possible.

In:  TensorBoard's command line.
Out: the plugin, when TensorBoard asks for it.
Does not know about NumPy, TensorFlow or protobuf: the standard library and
``base_plugin`` only. An error while this module is imported, or in ``define_flags`` or
``fix_flags``, would keep TensorBoard from starting; one in ``load`` only loses the tab.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from tensorboard.plugins import base_plugin

from tb_gradients import schema


class Loader(base_plugin.TBLoader):  # type: ignore[misc, unused-ignore]
    """Makes the plugin, and makes TensorBoard keep every step for it.

    By default TensorBoard keeps 10 (or 100) random steps of a plugin's tensors. A hint in
    ``--samples_per_plugin`` lifts that in both of its loaders; 0 means "all".
    """

    def define_flags(self, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("gradient health")
        with contextlib.suppress(argparse.ArgumentError):  # the name is taken: do without
            group.add_argument(
                "--gradient_health_samples",
                type=int,
                default=0,
                metavar="N",
                help="Frames that the Gradient Health tab keeps per run; 0 keeps all "
                "(default: %(default)s).",
            )

    def fix_flags(self, flags: argparse.Namespace) -> None:
        hints = getattr(flags, "samples_per_plugin", None)
        if isinstance(hints, dict):  # --samples_per_plugin itself wins
            samples = getattr(flags, "gradient_health_samples", 0) or 0
            hints.setdefault(schema.PLUGIN_NAME, max(0, samples))

    def load(self, context: base_plugin.TBContext) -> Any:
        from tb_gradients.plugin import plugin  # heavy imports, errors are caught by TensorBoard

        return plugin.GradientHealthPlugin(context)
