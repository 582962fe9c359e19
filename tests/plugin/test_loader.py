"""What TensorBoard imports at every start is small and cannot break it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import metadata

import pytest

from tb_gradients import schema
from tb_gradients.plugin.loader import Loader

HEAVY = ("tensorflow", "keras", "numpy", "google.protobuf", "tb_gradients.plugin.routes")


def heavy_imports(statement: str) -> list[str]:
    """Which heavy modules a fresh interpreter has loaded after a statement."""
    program = f"import sys\n{statement}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def parsed(*arguments: str, hints: object = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    loader = Loader()
    loader.define_flags(parser)
    flags = parser.parse_args(arguments)
    flags.samples_per_plugin = {} if hints is None else hints
    loader.fix_flags(flags)
    return flags


def test_importing_the_loader_imports_nothing_heavy() -> None:
    assert heavy_imports("import tb_gradients.plugin.loader") == []


def test_this_guard_can_fail() -> None:
    found = heavy_imports("import tb_gradients.plugin.loader, tb_gradients.plugin.routes")
    assert {"numpy", "tb_gradients.plugin.routes"} <= set(found)


def test_the_start_of_tensorboard_does_not_wait_for_what_requests_need() -> None:
    assert heavy_imports("import tb_gradients.plugin.plugin") == []


def test_serving_does_not_need_tensorflow() -> None:
    assert "tensorflow" not in heavy_imports("import tb_gradients.plugin.routes")


def test_the_entry_point_is_the_loader() -> None:
    (entry,) = metadata.entry_points(group="tensorboard_plugins", name=schema.PLUGIN_NAME)
    assert entry.load() is Loader


def test_every_step_is_kept_unless_the_user_says_otherwise() -> None:
    assert parsed().samples_per_plugin == {schema.PLUGIN_NAME: 0}


def test_the_plugins_own_flag_limits_the_steps() -> None:
    flags = parsed("--gradient_health_samples", "50")
    assert flags.samples_per_plugin == {schema.PLUGIN_NAME: 50}


def test_a_negative_limit_is_none() -> None:
    flags = parsed("--gradient_health_samples", "-3")
    assert flags.samples_per_plugin == {schema.PLUGIN_NAME: 0}


def test_tensorboards_own_flag_wins() -> None:
    hints = {schema.PLUGIN_NAME: 7, "images": 3}
    flags = parsed("--gradient_health_samples", "50", hints=dict(hints))
    assert flags.samples_per_plugin == hints


@pytest.mark.parametrize("hints", ["scalars=5", 3])
def test_hints_of_an_unexpected_kind_are_left_alone(hints: object) -> None:
    assert parsed(hints=hints).samples_per_plugin == hints


def test_flags_without_hints_are_no_error() -> None:
    Loader().fix_flags(argparse.Namespace())


def test_a_flag_name_that_is_taken_is_no_error() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gradient_health_samples")
    Loader().define_flags(parser)
