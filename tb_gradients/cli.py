"""The command line: ``tb-gradients check | watch | diff | export | rules | doctor | demo``.

In:  arguments.
Out: text on standard output, one line on standard error where something is unusable, and
     an exit status: 0 healthy or undecided, 1 a verdict at or above --fail-on, 2 unusable input,
     or a monitor that stopped before the training did.
Does not know how runs are read or judged, or how a report is laid out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import glob
import importlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tb_gradients import __version__, watch_runs
from tb_gradients.console import Console, ProgressLine, wants_colour
from tb_gradients.flags import VERDICTS, Severity
from tb_gradients.inert import inert

if TYPE_CHECKING:
    from tb_gradients.reading.report import Report, RunReport

HEALTHY, UNHEALTHY, UNUSABLE = 0, 1, 2

_DEMO = "tb_gradients.demo"


class UsageError(Exception):
    """The user's input cannot be used; the message is one line with the remedy."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _set_up_output()
    arguments = _parser(argv).parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()  # a closed pipe or a full disk shows here, not at interpreter exit
    except UsageError as error:
        print(f"tb-gradients: {inert(' '.join(str(error).split()))}", file=sys.stderr)
        return UNUSABLE
    except BrokenPipeError:  # `tb-gradients check logs | head`
        _discard_output()
        return UNUSABLE
    except OSError as error:  # a full disk; what could not be read, `_load` has reported
        print(f"tb-gradients: {inert(str(error))}", file=sys.stderr)
        _discard_output()
        return UNUSABLE
    except KeyboardInterrupt:
        return 130
    return status


def _set_up_output(encoding: str | None = None) -> None:
    """Characters that the terminal's code page lacks are written as escapes: no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _discard_output() -> None:
    """What is still in the buffer goes nowhere, and no error comes at the interpreter's exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tb-gradients",
        description="Find unhealthy gradients: variable, first step, cause, and what to change.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="judge the runs below a folder",
        description="Judge every run below LOGDIR. A run is undecided where too little was seen to "
        "call it healthy. Exit status: 0 healthy or undecided, 1 a verdict at or above --fail-on "
        "in any run, 2 unusable input, or a run whose monitor stopped early.",
    )
    check.add_argument(
        "logdir",
        metavar="LOGDIR",
        nargs="+",
        help="the folder given to GradientHealth, or one above it; several, or a pattern, are one "
        "report",
    )
    check.add_argument(
        "--format",
        choices=("text", "json", "html", "junit", "github"),
        default="text",
        help="html: one page without references to other files; junit: XML for CI systems, a "
        "test case per run; github: annotations of GitHub Actions (default: text)",
    )
    check.add_argument(
        "--fail-on",
        choices=("critical", "warning", "undecided", "never"),
        default="critical",
        help="the verdict from which on the exit status is 1 (default: critical); undecided: also "
        "if a run is too short for a verdict",
    )
    check.add_argument(
        "--min-steps",
        type=_positive,
        metavar="N",
        help="a run of fewer steps is undecided whatever its rules need, and fails unless "
        "--fail-on never",
    )
    check.add_argument(
        "--since-step",
        type=_step,
        metavar="N",
        help="only findings that are open at the end, or began at step N or later, count",
    )
    check.add_argument(
        "--rules",
        metavar="FILE",
        help='JSON with other thresholds: {"dead_units": {"share": 0.8}, "symmetric_units": false}'
        "; or rules of your own, FILE.py",
    )
    check.add_argument(
        "--rejudge",
        action="store_true",
        help="judge every frame again, also where the training has stored the same verdict",
    )
    check.add_argument(
        "--jobs",
        type=functools.partial(_positive, what="processes"),
        metavar="N",
        help="judge runs in so many processes (default: the cores, if there is enough to judge)",
    )
    check.set_defaults(run=_check)

    watch = commands.add_parser(
        "watch",
        help="follow the runs below a folder while they train",
        description="Show a table of the runs below LOGDIR until Ctrl-C: verdict, step, age of the "
        "newest frame, worst finding. On a terminal it is drawn again in its place; elsewhere each "
        "change is a line. Exit status as of check; 2 if no run could be read.",
    )
    watch_runs.add_arguments(watch)
    watch.set_defaults(run=_watch)

    compare = commands.add_parser(
        "diff",
        help="say what got better and what got worse from one run to another",
        description="Compare the findings of two runs. Exit status: 0 nothing got worse, 1 a "
        "critical finding or a warning is new or worse, 2 unusable input.",
    )
    compare.add_argument("before", metavar="RUN_A", help="the folder of one run")
    compare.add_argument("after", metavar="RUN_B", help="the folder of the other one")
    compare.set_defaults(run=_diff)

    export = commands.add_parser(
        "export",
        help="write recorded runs in the formats of other programs",
        description="Write the runs below LOGDIR as standard summaries, which TensorBoard shows "
        "without the plugin, or as a table: a row for each variable at each recorded step.",
    )
    export.add_argument("logdir", metavar="LOGDIR", help="as for check")
    export.add_argument(
        "--to",
        choices=("tensorboard", "csv", "json", "parquet"),
        required=True,
        metavar="FORMAT",
        help="tensorboard, csv, json or parquet",
    )
    export.add_argument(
        "--output",
        metavar="PATH",
        help="a folder for tensorboard, else a file; csv and json go to standard output without it",
    )
    export.add_argument(
        "--run",
        dest="only",
        metavar="REGEX",
        default="",
        help="only runs whose name contains a match",
    )
    export.add_argument(
        "--variables",
        metavar="REGEX",
        default="",
        help="with --to tensorboard: only variables whose path contains a match",
    )
    export.add_argument(
        "--statistics",
        metavar="NAME",
        nargs="+",
        help="with --to tensorboard: other statistics than gradient_norm, zero_fraction, "
        "update_ratio and gradients (histograms)",
    )
    export.set_defaults(run=_export)

    rules = commands.add_parser(
        "rules",
        help="print the rule book",
        description="Print the rule book: what each rule finds, why it matters, and what to try.",
    )
    rules.add_argument("rule", metavar="RULE", nargs="*", help="only these rules")
    rules.add_argument("--list", action="store_true", help="a line for each: id, severity, title")
    rules.add_argument("--format", choices=("text", "json"), default="text")
    rules.set_defaults(run=_rules)

    doctor = commands.add_parser(
        "doctor",
        help="look for what keeps TensorBoard or the tab from working",
        description="Look at what is installed here. Exit status: 0 nothing is wrong, 1 something "
        "is, with the remedy.",
    )
    doctor.set_defaults(run=_doctor)

    if importlib.util.find_spec(_DEMO) is not None:
        demo = commands.add_parser(
            "demo", help="train a healthy model and some with faults, and judge them"
        )
        if argv[:1] == ["demo"]:  # only then is the module wanted
            importlib.import_module(_DEMO).add_arguments(demo)
        demo.set_defaults(run=_demo)
    return parser


def _positive(text: str, what: str = "steps") -> int:
    """A positive whole number of something.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a positive number of {what}, not {text!r}")
    return number


def _step(text: str) -> int:
    """The number of a step.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be the number of a step, not {text!r}")
    return int(text)


# --- Commands -------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    required = arguments.min_steps or 0
    settings = _read_settings(arguments.rules)
    options = {"rejudge": arguments.rejudge, "jobs": arguments.jobs}
    if (arguments.rules or "").endswith(".py"):  # other processes could not import its classes
        options["jobs"] = 1
    report = _load_all(arguments.logdir, settings, **options).requiring(required)
    if arguments.since_step is not None:
        report = report.since(arguments.since_step)
    fails = {run.run for run in report.runs if _fails(run, arguments.fail_on, required)}
    if arguments.format == "json":
        print(json.dumps(report.to_json(), indent=2, allow_nan=False))
    elif arguments.format == "html":
        from tb_gradients.documents import html_document

        _set_up_output("utf-8")  # as the page itself says, whatever the terminal speaks
        print(html_document(report, ", ".join(arguments.logdir)), end="")
    elif arguments.format == "junit":
        from tb_gradients.documents import junit_document

        _set_up_output("utf-8")  # as its first line says
        limit = None if arguments.fail_on == "never" else _limit(arguments.fail_on)
        print(junit_document(report, limit, fails), end="")
    elif arguments.format == "github":
        from tb_gradients.annotations import github_annotations

        _set_up_output("utf-8")
        limit = None if arguments.fail_on == "never" else _limit(arguments.fail_on)
        print(github_annotations(report, limit), end="")
    else:
        print(_console().report(report), end="")
    if fails:
        return UNHEALTHY
    for run in report.runs:
        if run.stopped is not None:
            raise UsageError(f"run {run.run!r}: {run.stopped}")
    return HEALTHY


def _watch(arguments: argparse.Namespace) -> int:
    try:
        height = shutil.get_terminal_size().lines - 1  # the cursor stands below the table
        return watch_runs.watch(arguments, _console(), height)
    except ValueError as error:  # ReadError is one
        raise UsageError(str(error)) from error


def _diff(arguments: argparse.Namespace) -> int:
    from tb_gradients.comparison import compared, lines

    sides = []
    for folder in (arguments.before, arguments.after):
        runs = _load(folder, None).runs
        if len(runs) > 1:
            names = ", ".join(run.run for run in runs[:5])
            raise UsageError(f"{folder!r} holds {len(runs)} runs ({names}); name the folder of one")
        sides.append(runs[0])
    before, after = sides
    changes = compared(before, after)
    print("\n".join(lines(before, after, changes)))
    return UNHEALTHY if any(change.is_worse for change in changes) else HEALTHY


def _export(arguments: argparse.Namespace) -> int:
    from tb_gradients.export import export
    from tb_gradients.summaries import DEFAULT, Summaries

    if arguments.output is None:
        _set_up_output("utf-8")
    try:
        summaries = Summaries(arguments.statistics or DEFAULT, arguments.variables)
        sentence = export(
            arguments.logdir,
            arguments.to,
            arguments.output,
            run=arguments.only,
            summaries=summaries,
            stdout=sys.stdout,
        )
    except ValueError as error:  # ExportError and ReadError are some
        raise UsageError(str(error)) from error
    if sentence:
        print(inert(sentence))
    return HEALTHY


def _limit(fail_on: str) -> Severity:
    """The severity from which on a flag fails its run: undecided comes just before a warning."""
    return Severity.WARNING if fail_on == "undecided" else Severity.parse(fail_on)


def _fails(run: RunReport, fail_on: str, required: int) -> bool:
    """Whether a run is a reason for exit status 1."""
    if fail_on == "never":
        return False
    return run.steps_seen < required or VERDICTS.index(run.verdict) >= VERDICTS.index(fail_on)


def _load_all(logdirs: Sequence[str], settings: Any, **options: Any) -> Report:
    """One report on all folders; of several the runs are named by their folder, too."""
    from tb_gradients.reading.report import Report

    folders = list(dict.fromkeys(found for logdir in logdirs for found in _matching(logdir)))
    if len(folders) == 1:
        return _load(folders[0], settings, **options)
    runs = []
    for folder in folders:
        for run in _load(folder, settings, **options).runs:
            place = folder.rstrip("/")
            name = place if run.run == "." else f"{place}/{run.run}"
            runs.append(dataclasses.replace(run, run=name))
    return Report(tuple(runs))


def _matching(pattern: str) -> list[str]:
    """The folders that a pattern means, where the shell has left it as it is."""
    if "://" in pattern or os.path.exists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isdir(path))
    if not found:
        raise UsageError(f"no folder matches {pattern!r}")
    return found


def _load(logdir: str, settings: Any, **options: Any) -> Report:
    from tb_gradients.reading.report import load

    try:
        with ProgressLine(sys.stderr, "judged") as line:
            report = load(logdir, settings, progress=line.update, **options)
    except ValueError as error:  # ReadError is one
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot read {logdir!r}: {error.strerror or error}") from error
    if not any(run.state == "judged" for run in report.runs):
        reasons = [str(problem) for run in report.runs for problem in run.errors]
        reason = reasons[0] if reasons else "Has training made its first step?"
        raise UsageError(f"no frames could be read below {logdir!r}. {reason}")
    return report


def _read_settings(path: str | None) -> Any:
    """The thresholds, or the rules, of a --rules file, checked."""
    if path is None:
        return None
    from tb_gradients.judging import make_rules

    if path.endswith(".py"):
        from tb_gradients.own_rules import rules_in

        try:
            rules = rules_in(path)
            make_rules(rules)
        except OSError as error:
            raise UsageError(f"cannot read --rules {path!r}: {error.strerror}") from error
        except ValueError as error:
            raise UsageError(f"--rules: {error}") from error
        return rules
    try:
        settings = json.loads(pathlib.Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read --rules {path!r}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--rules {path!r} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise UsageError(f'--rules {path!r} must hold an object: {{"rule": {{"threshold": 1}}}}')
    try:
        make_rules(settings)
    except ValueError as error:
        raise UsageError(f"--rules {path!r}: {error}") from error
    return settings


def _rules(arguments: argparse.Namespace) -> int:
    from tb_gradients.judging import all_rules, rule_book
    from tb_gradients.judging.base import known_names
    from tb_gradients.judging.causes import CAUSES

    known = {rule.id: rule for rule in all_rules()}
    unknown = [name for name in arguments.rule if name not in known]
    if unknown:
        names = known_names(unknown[0], sorted(known))
        raise UsageError(f"there is no rule {unknown[0]!r}; {names}")
    pages = [known[name].page() for name in arguments.rule or known]
    if arguments.list and arguments.format == "text":
        width = max(len(page.id) for page in pages)
        for page in pages:
            print(f"{page.id:<{width}}  {page.severity.label:<8}  {page.title}")
        return HEALTHY
    if arguments.format == "json":
        book = rule_book([known[name] for name in arguments.rule or known])
        print(json.dumps(book, indent=2, allow_nan=False))
    elif arguments.rule:
        console = _console()
        print("\n\n".join(console.page(page) for page in pages))
    else:
        print(_console().rule_book(pages, CAUSES.values()), end="")
    return HEALTHY


def _doctor(arguments: argparse.Namespace) -> int:
    from tb_gradients.doctor import examine

    findings = examine()
    print(_console().findings(findings), end="")
    return UNHEALTHY if any(finding.problem for finding in findings) else HEALTHY


def _demo(arguments: argparse.Namespace) -> int:
    status: int = importlib.import_module(_DEMO).run(arguments)
    return status


def _console() -> Console:
    width = shutil.get_terminal_size((96, 24)).columns if sys.stdout.isatty() else 96
    return Console(colour=wants_colour(sys.stdout, os.environ), width=min(width, 120))


if __name__ == "__main__":
    sys.exit(main())
