"""`relay eval routing`: how right, how sure and how quick the router is on labelled messages; `--fit` makes its head anew.

Rows in: {"text", "label"}. Predictions out: one line a row in the same order. Knows no rule and no model.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.assistant import open_router
from agents.corrections import Trial
from base.errors import SettingsError
from base.files import write_atomic
from base.settings import load_settings
from router.intents import Intent
from router.measure import calibration_error, percentiles, scores

LONG = 2_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", nargs="?", type=Path, help='JSON lines {"text": …, "label": …}')
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--predictions", type=Path, metavar="OUT", help="write each row's prediction")
    parser.add_argument("--fit", action="store_true", help="fit the head from the examples first, and keep it")
    parser.add_argument(
        "--from-corrections", action="store_true", help="show what your corrections would change; with --fit, take them as examples"
    )
    parser.add_argument("--out", type=Path, help="with --fit: write the head here instead of into the data home")


def run(options: argparse.Namespace) -> int:
    """Fit, measure, or both."""
    if not options.fit and options.file is None and not options.from_corrections:
        raise SettingsError("Nothing to do.", "Name a file of labelled messages, or say --fit.")
    router = open_router(load_settings())
    said: dict[str, Any] = {}
    trial = router.trial() if options.from_corrections else None
    if trial:
        said["corrections"] = _changes(trial)
    if options.fit:
        said["fit"] = dict((router.take(trial, options.out) if trial else router.fit(options.out)).metrics)
    if options.file is not None:
        said |= _measure(router, _rows(options.file), options.predictions)
    print(json.dumps(said, ensure_ascii=False) if options.json else _prose(said))
    return 0


def _changes(trial: Trial) -> dict[str, Any]:
    """What the corrections would change, and what that does to the head's own measure."""
    figures = {name: head.metrics["cross_validated"] for name, head in (("before", trial.before), ("after", trial.after))}
    return {
        "changes": [asdict(effect) for effect in trial.effects],
        **{name: {key: metrics[key] for key in ("macro_f1", "wrong_specialist_rate")} for name, metrics in figures.items()},
    }


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read ({type(error).__name__}).", "Name a UTF-8 file of JSON lines.") from None
    rows: list[dict[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append({"text": str(row["text"]), "label": str(row["label"])})
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"{path.name}, line {number}: not a JSON object with 'text' and 'label'.", "Correct the line.") from None
    if not rows:
        raise SettingsError(f"{path.name} holds no rows.", 'Write {"text": "…", "label": "…"}, one a line.')
    return rows


def _measure(router: Any, rows: list[dict[str, str]], out: Path | None) -> dict[str, Any]:
    router.intent("Warm up the embedder, so that the first row is timed like the others.")
    found: list[Intent] = []
    took: list[float] = []
    rules: list[float] = []
    for row in rows:
        began = time.perf_counter()
        found.append(router.intent(row["text"]))
        took.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        router.by_rules(row["text"])
        rules.append((time.perf_counter() - began) * 1e3)
    if out is not None:
        lines = [
            json.dumps({**row, "predicted": i.name, "confidence": i.confidence, "stage": i.stage}, ensure_ascii=False)
            for row, i in zip(rows, found, strict=True)
        ]
        write_atomic(out, "\n".join(lines) + "\n")
    return _figures(rows, found, took, rules)


def _figures(rows: list[dict[str, str]], found: list[Intent], took: list[float], rules: list[float]) -> dict[str, Any]:
    truth, said = [row["label"] for row in rows], [intent.name for intent in found]
    right = [a == b for a, b in zip(truth, said, strict=True)]
    stages = {name: [hit for hit, i in zip(right, found, strict=True) if i.stage == name] for name in ("rules", "head", "default")}
    return {
        **scores(truth, said),
        "calibration_error": calibration_error(right, [intent.confidence for intent in found]),
        "stages": {name: {"rows": len(hits), "accuracy": round(sum(hits) / len(hits), 4)} for name, hits in stages.items() if hits},
        "decision_ms": percentiles(took),
        "decision_ms_long": percentiles([ms for ms, row in zip(took, rows, strict=True) if len(row["text"]) > LONG]),
        "rules_ms": percentiles(rules),
    }


def _prose(said: dict[str, Any]) -> str:
    lines: list[str] = list(_corrected(said["corrections"])) if "corrections" in said else []
    if "fit" in said:
        crossed = said["fit"]["cross_validated"]
        lines.append(f"Fitted from {said['fit']['messages']} messages: macro-F1 {crossed['macro_f1']:.3f} in cross-validation")
    return "\n".join([*lines, *(_measured(said) if "rows" in said else ())])


def _corrected(said: dict[str, Any]) -> Iterator[str]:
    if not said["changes"]:
        yield "You have made no corrections yet."
        return
    for one in said["changes"]:
        text = " ".join(one["text"].split())
        change = f"{one['now']} → {one['after']}" if one["now"] != one["after"] else f"stays {one['now']}"
        yield f"  {change:32} (you: {one['label']})  {text[:80]}"
    for name, when in (("before", "Without"), ("after", "With")):
        figures = said[name]
        yield f"{when} them: macro-F1 {figures['macro_f1']:.3f}, wrong specialist {figures['wrong_specialist_rate']:.3f}, cross-validated"


def _measured(said: dict[str, Any]) -> list[str]:
    wrong = said["wrong_specialist_rate"]
    lines = [
        f"{said['rows']} rows: accuracy {said['accuracy']:.3f}, macro-F1 {said['macro_f1']:.3f}, calibration error "
        f"{said['calibration_error']:.3f}, wrong specialist {'no general rows' if wrong is None else f'{wrong:.3f}'}"
    ]
    for name, own in said["per_label"].items():
        lines.append(f"  {name:15} precision {own['precision']:.3f}  recall {own['recall']:.3f}  F1 {own['f1']:.3f}  rows {own['rows']}")
    for true, row in said["confusion"].items():
        lines.append(f"  {true} → {', '.join(f'{got} {count}' for got, count in row.items())}")
    for name, stage in said["stages"].items():
        lines.append(f"  by {name}: {stage['rows']} rows, accuracy {stage['accuracy']:.3f}")
    for key in ("decision_ms", "decision_ms_long", "rules_ms"):
        if said[key]:
            lines.append(f"  {key}: {', '.join(f'{p} {ms}' for p, ms in said[key].items())}")
    return lines
