"""Mutation pass: break a module in every small way and see whether its tests notice.

    python tests/mutate.py [MODULE ...] [--list]

``MODULE`` is a file of ``src/clipdefend`` as listed in ``TESTS``; without it all of them are taken. Each mutant runs
the tests that reach its line, the fastest first, in a process of its own that stops at the first failure. A mutant
that no test notices has survived: it must be equivalent to the original, and ``surviving_mutants.yaml`` says why.
The exit code is 1 where a survivor has no reason there. Takes a few minutes; not a part of ``tests/run.sh``.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import pickle
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
    "1"  # none is needed, and loading them takes longer than most tests
)

import pytest
import yaml
from hypothesis import Phase, settings

from mutants import Mutant, mutants

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "clipdefend"
REASONS = HERE / "surviving_mutants.yaml"
TESTS: dict[str, tuple[str, ...]] = {
    "losses.py": ("test_losses.py", "test_loss_properties.py"),
    "metrics.py": ("test_metrics.py",),
    "gates/annotations.py": ("gates",),
    "gates/junit.py": ("gates",),
    "gates/verdict.py": ("gates",),
    "training/schedule.py": ("training/test_schedule.py",),
    "training/plan.py": ("training/test_plan.py",),
    "training/optimizer.py": ("training/test_optimizer.py",),
    "report/stopping.py": ("report/test_stopping.py",),
    "training/milestones.py": ("training/test_milestones.py",),
    "evaluation/flat_metrics.py": ("evaluation/test_flat_metrics.py", "report/test_stopping.py"),
    "study/choice.py": ("study/test_study_command.py::test_rules_by_hand",),
    "inversion/scan_verdict.py": ("inversion/test_scan_verdict.py",),
    "detection/curves.py": ("detection/test_curves.py",),
    "detection/top_share.py": ("detection/test_curves.py",),
    "commands/defend/defence_score.py": ("commands/test_best_epoch.py",),
    "commands/finetune_attack/attack_score.py": ("commands/test_best_epoch.py",),
}
LIMIT = 120  # seconds for a mutant; an endless loop counts as noticed
Lines = frozenset[int]


def in_child(work: Callable[[], Any], limit: float) -> Any:
    """Run in a forked process and return the result; None where it took too long or crashed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(limit))
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        packed = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(packed) if packed else None


class Recorder:
    """Plugin of pytest that records which lines of a file each test reaches, and how long it takes."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.reached: dict[str, tuple[float, Lines]] = {}
        self.failed = False

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        lines: set[int] = set()

        def in_file(frame: FrameType, event: str, arg: object) -> Any:
            lines.add(frame.f_lineno)
            return in_file

        def anywhere(frame: FrameType, event: str, arg: object) -> Any:
            return in_file if frame.f_code.co_filename == self.path else None

        start = time.perf_counter()
        sys.settrace(anywhere)
        yield
        sys.settrace(None)
        self.reached[item.nodeid] = (time.perf_counter() - start, frozenset(lines))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed


def run_pytest(tests: Sequence[str], plugin: Any = None) -> int:
    """Run tests silently, up to the first failure; returns pytest's exit code."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(io.StringIO()):
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={HERE.parent}"]
        return int(pytest.main([*options, *tests], plugins=[plugin] if plugin else []))


def record(name: str) -> tuple[dict[str, tuple[float, Lines]], list[str]]:
    """Run the tests of a module as it is; returns what they reach and the packages that they import."""
    recorder = Recorder(SOURCE / name)
    code = run_pytest([str(HERE / test) for test in TESTS[name]], recorder)
    if code:
        return {}, []
    ours = ("clipdefend", "__main__")
    local = {path.stem for path in HERE.rglob("*.py")}
    return recorder.reached, [
        m for m in sys.modules if not m.startswith(ours) and m.split(".")[0] not in local
    ]


def preload(modules: Sequence[str]) -> None:
    """Import what the tests need from other packages once, so that no mutant has to."""
    for module in modules:
        with suppress(Exception):  # a part of a package that is never imported by its own name
            importlib.import_module(module)


class Loader:
    """Import hook that gives one module another code."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        return (
            importlib.util.spec_from_file_location(name, self.path, loader=self)  # type: ignore[arg-type]
            if name == self.name
            else None
        )

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code, module.__dict__)


def is_noticed(name: str, mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether a test fails on the mutant."""
    path = SOURCE / name
    module = "clipdefend." + name.removesuffix(".py").replace("/", ".")

    def work() -> int:
        sys.meta_path.insert(0, Loader(module, path, compile(mutant.tree, str(path), "exec")))
        return run_pytest(tests)

    return bool(in_child(work, LIMIT) != 0)


def tests_for(mutant: Mutant, reached: dict[str, tuple[float, Lines]]) -> list[str]:
    """Tests that reach the mutated lines, the fastest first; all of them for code that runs at import."""
    first, last = mutant.lines
    hit = [test for test, (_, lines) in reached.items() if any(first <= line <= last for line in lines)]
    return sorted(hit or reached, key=lambda test: reached[test][0])


def examine(name: str) -> list[Mutant] | None:
    """Mutants of a module that survive; None where its tests fail without any."""
    found = in_child(lambda: record(name), 20 * LIMIT)
    reached, modules = found or ({}, [])
    if not reached:
        return None
    preload(modules)
    survivors = []
    everything = list(mutants((SOURCE / name).read_text("utf-8")))
    start = time.monotonic()
    for number, mutant in enumerate(everything, 1):
        if not is_noticed(name, mutant, tests_for(mutant, reached)):
            survivors.append(mutant)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{name}: {number} of {len(everything)}, {len(survivors)} survive ")
    took = time.monotonic() - start
    print(f"{name}: {len(everything)} mutants, {len(survivors)} survive, {took:.0f} s", flush=True)
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"some of {', '.join(TESTS)}")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    args = parser.parse_args()
    if unknown := set(args.modules) - set(TESTS):
        parser.error(f"unknown module {unknown.pop()!r}; choose from {', '.join(TESTS)}")
    # Shrinking a failure takes time and changes nothing; fixed examples make two passes equal.
    settings.register_profile(
        "mutate", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None, deadline=None
    )
    settings.load_profile("mutate")
    reasons = yaml.safe_load(REASONS.read_text("utf-8")) if REASONS.exists() else {}
    total, unexplained = Counter[str](), 0
    for name in args.modules or TESTS:
        if args.list:
            for mutant in mutants((SOURCE / name).read_text("utf-8")):
                print(f"{name}:{mutant.lines[0]}  {mutant.key}")
            continue
        survivors = examine(name)
        if survivors is None:
            print(f"{name}: its tests fail without any mutant, or do not reach it")
            return 1
        known = reasons.get(name, {})
        for mutant in survivors:
            why = known.get(mutant.key)
            unexplained += why is None
            print(f"  {name}:{mutant.lines[0]}  {mutant.key}\n      {why or 'NO REASON GIVEN'}")
        for stale in known.keys() - {mutant.key for mutant in survivors}:
            print(f"  {REASONS.name} excuses what does not survive: {stale}")
        total["survive"] += len(survivors)
    if not args.list:
        print(f"{total['survive']} survive, {unexplained} of them without a reason")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
