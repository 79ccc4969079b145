"""Every architecture of the installed transformers, tiny: converted, compared with its own eager attention, exported.

Run: python -m benchmarks.architectures [--only TYPE,TYPE] [--checks convert]. Without options, all types and checks:
under an hour on two quiet cores. It writes benchmarks/results/architectures.json and docs/models.md, and exits 1 where
an output is wrong. Needs no data and no weights.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import click
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from benchmarks.architectures.compare import TOLERANCE
from benchmarks.architectures.page import figures, render, verdict
from benchmarks.architectures.sweep import Row, examine_type, share_operators, sweep, warm_up
from benchmarks.architectures.timm_families import timm_types
from benchmarks.record import record
from edgeattn.store import write_json
from edgeattn.versions import installed_version

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ROWS = PAGE.parents[1] / "build" / "architectures-rows.json"
NOTES = ["Types of transformers.AutoModel, each tiny and with random weights; docs/models.md has one row per type."]


@click.command()
@click.option("--only", default="", help="Types, separated by commas. Nothing is written unless --out is given.")
@click.option("--checks", type=click.Choice(["all", "convert"]), default="all", help="convert leaves the export out.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows to this JSON file instead."
)
@click.option("--resume", is_flag=True, help="Go on where the last run was stopped, with the rows that it has.")
def main(only: str, checks: str, out: Path | None, resume: bool) -> None:
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if checks == "all":
        share_operators()
        warm_up()
    every = [*MODEL_MAPPING_NAMES, *timm_types()]
    types = [name for name in only.split(",") if name] or every
    unknown = sorted(set(types) - set(every))
    if unknown:
        raise click.BadParameter(f"transformers {transformers.__version__} and timm have no type {', '.join(unknown)}")
    known: dict[str, Row] = load(ROWS) if resume and ROWS.is_file() else {}
    ROWS.parent.mkdir(exist_ok=True)

    def tell(row: Row) -> None:
        known[row["type"]] = row
        write_json(ROWS, known)
        click.echo(f"{len(known)}/{len(types)} {row['type']}: {summary(row)} ({row['seconds']} s)")

    sweep([name for name in types if name not in known], functools.partial(examine_type, export=checks == "all"), tell)
    rows = [known[name] for name in types]
    more = {"types": rows, "versions": versions(), "tolerance": TOLERANCE}
    if out is not None:
        write_json(out, more)
    elif not only:
        path = record("architectures", figures(rows), NOTES, more)
        PAGE.write_text(render(load(path)), encoding="utf-8")
        click.echo(f"{path}\n{PAGE}")
    sys.exit(any(verdict(row) == "wrong" for row in rows))


def versions() -> dict[str, str | None]:
    """Of the libraries that the results depend on; timm's families are among the types only where it is installed."""
    names = ("transformers", "torch", "onnxruntime", "onnx", "timm")
    return {name: installed_version(name) for name in names}


def load(path: Path) -> dict[str, Any]:
    import json

    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def summary(row: Row) -> str:
    """One line about a type: what is wrong, else why it is not looked at or refused, else "equal"."""
    if not row["buildable"]:
        return f"not buildable: {row['reason'][:120]}"
    if row["refused"]:
        return f"refused{'' if row['refused']['clear'] else ' unclearly'}: {row['refused']['reason'][:120]}"
    found = [
        f"{name}: {check['result']} {check.get('error', '')} {check.get('detail', '')[:120]}".strip()
        for name, check in row["checks"].items()
        if check["result"] not in ("equal", "n/a")
    ]
    return "; ".join(found) or "equal"


if __name__ == "__main__":
    main()
