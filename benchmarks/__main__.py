"""`python -m benchmarks`: measure, and print what was found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import display, report, throughput
from benchmarks.measure import Contender, ContenderError, measure_here
from benchmarks.server import hold_server, kept_server

__all__ = ["main"]

_BEGAN = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand, and return the exit status."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == "server":
        hold_server()
    elif parsed.command == "contender":
        figures = measure_here(Contender(parsed.module, parsed.module, parsed.workload, parsed.items))
        print(json.dumps(figures))
    else:
        try:
            _compare(parsed)
        except ContenderError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("throughput", "items per second, latencies and memory, beside other libraries"),
        ("display", "messages, bytes and CPU seconds of the live card"),
    ):
        _add_options(commands.add_parser(name, help=about))
    commands.add_parser("server", help="hold a server until the input ends (used by the others)")
    command = commands.add_parser("contender", help="one measurement in this process (used by the others)")
    command.add_argument("module")
    command.add_argument("workload")
    command.add_argument("items", type=_positive)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    size = command.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="less of everything: minutes")
    size.add_argument(
        "--smoke",
        dest="size",
        action="store_const",
        const="smoke",
        help="next to nothing, mostly in one process: tells whether it runs, the figures mean nothing",
    )
    command.add_argument("--repeats", type=_positive, metavar="N", help="rounds")
    command.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to a file")
    command.add_argument("--only", metavar="WORD", help="the tables whose title has this word")
    command.add_argument("--home", type=Path, help="where the server keeps its database; a temporary directory if not")
    command.set_defaults(size="full")


def _compare(parsed: argparse.Namespace) -> None:
    sections = {"throughput": throughput, "display": display}[parsed.command].plan(
        size=parsed.size, repeats=parsed.repeats
    )
    if parsed.only:
        sections = [section for section in sections if parsed.only.lower() in section.title.lower()]
    conditions = _conditions()
    print(", ".join(f"{name} {value}" for name, value in conditions.items()), end="\n\n", flush=True)
    _tell("starting Prefect's server")
    found: list[dict[str, Any]] = []
    is_smoke = parsed.size == "smoke"
    with kept_server(parsed.home, in_this_process=is_smoke):
        for section in sections:
            _tell(section.title)
            measured = throughput.measure(section, in_one_process=is_smoke, tell=_tell)
            comparisons = throughput.compare(section, measured)
            print(report.as_text(section, measured, comparisons), flush=True)
            found.append(report.as_json(section, measured, comparisons))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps({"conditions": conditions, "sections": found}, indent=1), encoding="utf-8")


def _conditions() -> dict[str, str]:
    packages = ("nbfutures", "prefect", "joblib", "tqdm", "ipython")
    return {
        "Python": platform.python_version(),
        **{package: version(package) for package in packages},
        "CPUs": str(os.cpu_count()),
        "load average": f"{os.getloadavg()[0]:.1f}",
    }


def _tell(line: str) -> None:
    print(f"# {time.monotonic() - _BEGAN:4.0f} s  {line}", file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
