"""Run `cds-service terminology`: load RxNorm, and measure how well drugs are recognised."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.files.paths import cards_dir
from cds_service.settings import load_settings

if TYPE_CHECKING:
    from cds_service.authoring.drug_recognition import Measurement

_CONFUSIONS = 20  # rows of the table of confusions; all of them are in --misses


def add_terminology_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands under `terminology`."""
    parser = commands.add_parser("terminology", help="codes and names of drugs")
    terminology = parser.add_subparsers(required=True, metavar="COMMAND")
    load = terminology.add_parser("load", help="make the local RxNorm lookup from files of NLM's Current Prescribable Content")
    load.add_argument("conso", type=Path, metavar="RXNCONSO.RRF")
    load.add_argument("rel", type=Path, metavar="RXNREL.RRF")
    load.add_argument("--to", type=Path, metavar="FILE", help="file to write; default: CDS_RXNORM_FILE")
    load.add_argument("--release", metavar="DATE", help="date of the release; needed where no file or folder name has it")
    load.set_defaults(run=_load)
    measure = terminology.add_parser("measure", help="measure recognition against a table of products")
    measure.add_argument(
        "products", type=Path, metavar="PRODUCTS.csv", help="with the columns rxcui, name, route, classes, ingredients"
    )
    measure.add_argument(
        "--by", choices=["text", "code", "both"], default="text", help="recognise a product by this (default: text)"
    )
    measure.add_argument(
        "--differences", type=Path, metavar="FILE", help="YAML file: where the classes of the table differ from ours, and why"
    )
    measure.add_argument("--misses", action="store_true", help="list every product whose result differs from the table")
    measure.set_defaults(run=_measure)


def _load(options: argparse.Namespace) -> int:
    from cds_service.authoring.progress import Progress
    from cds_service.authoring.rxnorm_load import load, release_of
    from cds_service.knowledge.site_knowledge import rxnorm_path

    to: Path = options.to or rxnorm_path(load_settings())
    try:
        about = load(options.conso, options.rel, to, release_of(options.conso, options.release), Progress(sys.stderr))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    without = about.counts.get("without ingredient", 0)
    products = sum(about.counts.values()) - without
    print(f"RxNorm of {about.release}: {products:,} products in {to}, {without:,} without an ingredient left out")
    print("The service uses it from its next start.")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from cds_service.authoring.drug_recognition import measure, read_differences
    from cds_service.knowledge.site_knowledge import rxnorm_path
    from cds_service.terminology.terminology import Terminology

    settings = load_settings()
    terms = Terminology.load((settings.cards_dir or cards_dir()) / "value_sets", rxnorm_path(settings))
    differences = read_differences(options.differences) if options.differences else None
    try:
        measured = measure(options.products, terms, options.by, differences)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    used = f", RxNorm of {terms.rxnorm.release}" if terms.rxnorm else ", no RxNorm lookup"
    print(f"{measured.products:,} products by {options.by}{used if options.by != 'text' else ''}\n")
    print(_table(measured))
    if options.misses:
        for one in measured.misses:
            taken = f" taken for {one.recognised}" if one.recognised else ""
            print(f"{one.class_id}: {one.kind}: {one.rxcui} {one.name} (table: {one.table}){taken}")
    return 0


def _table(measured: Measurement) -> str:
    lines = [f"{'class':26}{'found':>8}{'missed':>8}{'wrong':>8}{'not judged':>12}{'recall':>10}{'precision':>11}"]
    for class_id, one in measured.figures.items():
        counts = f"{one.found:8}{one.missed:8}{one.wrong:8}{one.not_judged:12}"
        lines.append(f"{class_id:26}{counts}{_percent(one.recall):>10}{_percent(one.precision):>11}")
    confusions = measured.confusions()
    if confusions:
        lines += ["", "wrong: taken for <- in the table"]
        for (class_id, recognised, table), count in confusions.most_common(_CONFUSIONS):
            lines.append(f"{count:5}  {class_id}: {recognised} <- {table}")
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
