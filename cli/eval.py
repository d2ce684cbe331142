"""`relay eval KIND …`: measure a part of Relay on labelled data. Finds the kind's file; knows no measure."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

KINDS = {
    "retrieval": "whether search finds the right passages, on data in BEIR layout",
    "refusal": "whether questions that the documents do not answer are refused",
    "routing": "whether messages find their intent, and how sure the router is",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each kind; only the one that runs is imported."""
    subs = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, about in KINDS.items():
        sub = subs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        if name in sys.argv:
            import_module(f"cli.eval_{name}").arguments(sub)


def run(options: argparse.Namespace) -> int:
    """Run the kind."""
    code: int = import_module(f"cli.eval_{options.kind}").run(options)
    return code
