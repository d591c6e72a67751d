"""`python -m benchmarks`: measure, and print what was found."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import background, clusters, cpu, deployments, display, latency, mixed, prefect_share, scale, throughput
from benchmarks.campaign import Table, measure_tables
from benchmarks.conditions import conditions
from benchmarks.fresh_process import ContenderError, reason
from benchmarks.measure import measure_here
from benchmarks.server import hold_server, kept_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.sections import Section

__all__ = ["main"]

_BEGAN = time.monotonic()
_FOLDER = Path(__file__).resolve().parent
_RESULTS = _FOLDER / "results.json"
_PICTURE = _FOLDER / "results.svg"
_ALL_MINUTES = 24.0

_PLANS: dict[str, tuple[Callable[..., list[Section]], str]] = {
    "throughput": (throughput.plan, "items per second, in threads and in processes"),
    "cpu": (cpu.plan, "speed-up of pure Python on two processes"),
    "mixed": (mixed.plan, "short and long items together, against the best schedule"),
    "dask": (clusters.plan_dask, "nbfutures on Dask, beside Dask"),
    "ray": (clusters.plan_ray, "nbfutures on Ray, beside Ray"),
    "background": (background.plan, "background tasks on two workers, beside .delay() and asyncio.gather"),
    "scale": (scale.plan, "seconds and memory, up to a million items"),
    "latency": (latency.plan, "time to the first item, of %%load_ext and of the call"),
    "prefect_share": (prefect_share.plan, "what is sent to Prefect, and what its settings can save"),
    "deployments": (deployments.plan, "API calls while flow runs of a deployment run"),
    "display": (display.plan, "messages, bytes and CPU seconds of the live card"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand, and return the exit status."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == "server":
        hold_server()
    elif parsed.command == "contender":
        return _measure_one(parsed)
    elif parsed.command == "picture":
        if not parsed.json.exists():
            print(f"There is no {parsed.json}: run `python -m benchmarks all` first.", file=sys.stderr)
            return 1
        from benchmarks.picture import draw

        draw(json.loads(parsed.json.read_text(encoding="utf-8")), parsed.svg)
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
    everything = commands.add_parser(
        "all", help=f"all of the below, in about {_ALL_MINUTES:g} minutes; writes results.json"
    )
    _add_options(everything)
    everything.add_argument("--minutes", type=float, default=_ALL_MINUTES, help="time in which rounds are begun")
    everything.add_argument("--leave-out", choices=_PLANS, nargs="+", default=[], help="benchmarks that are not run")
    for name, (_, about) in _PLANS.items():
        _add_options(commands.add_parser(name, help=about))
    picture = commands.add_parser("picture", help="draw the results of a run")
    picture.add_argument("--json", type=Path, default=_RESULTS, metavar="FILE", help="what `all` wrote")
    picture.add_argument("--svg", type=Path, default=_PICTURE, metavar="FILE", help="what to write")
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
    command.set_defaults(size="full", minutes=None, leave_out=[])


def _measure_one(parsed: argparse.Namespace) -> int:
    """Measure one contender, and print its figures, or why there are none, as the last line."""
    try:
        figures = measure_here(parsed.module, parsed.workload, parsed.items)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": reason(error)}), flush=True)
        return 1
    print(json.dumps(figures), flush=True)
    return 0


def _compare(parsed: argparse.Namespace) -> None:
    names = [name for name in _PLANS if name not in parsed.leave_out] if parsed.command == "all" else [parsed.command]
    planned = [(name, each) for name in names for each in _PLANS[name][0](size=parsed.size, repeats=parsed.repeats)]
    tables = [Table(section, name) for name, section in planned if (parsed.only or "").lower() in section.title.lower()]
    found = conditions()
    print(", ".join(f"{name} {value}" for name, value in found.items()), end="\n\n", flush=True)
    _tell("starting Prefect's server")
    is_smoke = parsed.size == "smoke"
    is_whole = parsed.command == "all" and parsed.size == "full" and not parsed.only and not parsed.leave_out
    file = parsed.json or (_RESULTS if is_whole else None)
    seconds = None if parsed.minutes is None else parsed.minutes * 60
    with kept_server(parsed.home, in_this_process=is_smoke):
        rounds = measure_tables(tables, in_one_process=is_smoke, seconds=seconds, tell=_tell)
        for table in rounds:
            if seconds is None and table.rounds == table.section.repeats:
                print(table.as_text(), flush=True)
            # After each round: what was measured outlives an interrupt.
            _write(file, found, tables)
    if seconds is not None:
        for table in tables:
            print(table.as_text(), flush=True)


def _write(file: Path | None, found: dict[str, str], tables: Iterable[Table]) -> None:
    if file is not None:
        sections: list[dict[str, Any]] = [table.as_json() for table in tables if table.measured]
        file.write_text(json.dumps({"conditions": found, "sections": sections}, indent=1) + "\n", encoding="utf-8")


def _tell(line: str) -> None:
    print(f"# {time.monotonic() - _BEGAN:4.0f} s  {line}", file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
