"""The text that the monitor prints at the end of a training.

In:  the flags of the run, and what the journal knows.
Out: a few lines of text.
Does not know about TensorFlow, or who prints it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tb_gradients.flags import Flag, RuleError, verdict_of
from tb_gradients.host.viewer import remedy
from tb_gradients.inert import inert
from tb_gradients.judging.words import plural


def summary_of(
    flags: Sequence[Flag],
    errors: Sequence[RuleError],
    *,
    frames: int,
    undecided: str,
    stopped: bool,
    log_dir: str,
    notebook: bool = False,
) -> str:
    """The verdict; for each flag the likeliest cause and the first fix; where to see more.

    Args:
        flags: worst first.
        errors: parts of the monitor that failed.
        frames: how many were written.
        undecided: why it is too early for a verdict; "" if it is not.
        stopped: the monitor failed before the end of the training.
        log_dir: the folder that the user gave.
        notebook: commands are those for a cell.
    """
    folder = inert(shlex.quote(log_dir))
    command, shell = f"tensorboard --logdir {folder}", ""
    if notebook:
        command, shell = f"%load_ext tensorboard, then %{command}", "!"
    lines = [f"tb_gradients: {error}" for error in errors]
    if not frames:
        return "\n".join([*lines, "tb_gradients: no update was seen, so nothing was judged."])
    seen = plural(frames, "frame")
    early = f"undecided ({undecided})" if verdict_of(flags, undecided) == "undecided" else ""
    if not flags:
        verdict = early or f"healthy ({seen}, no flag)"
        if stopped:
            verdict = f"until then no flag ({seen})"
        lines.append(f"tb_gradients: {verdict}. Details: {command}, tab 'Gradient Health'")
        return "\n".join(lines + _before_tensorboard())
    found = f"{plural(len(flags), 'flag')} in {seen}"
    lines.append(f"tb_gradients: {early + ', ' if early else ''}{found}")
    for flag in flags:
        lines += [f"  {flag}", *(f"    {line}" for line in flag.advice())]
    lines.append(f"All causes and fixes: {shell}tb-gradients check {folder}")
    place = "its tab 'Gradient Health'" if notebook else "its address with #gradient_health"
    lines.append(f"  or {command}, then {place}")
    return "\n".join(lines + _before_tensorboard())


def _before_tensorboard() -> list[str]:
    command = remedy()
    return [f"  (this TensorBoard starts after: {command})"] if command else []
