"""`relay eval refusal`, the whole command: the gate, the second stage, and a model that answers from the documents."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from cli import eval_refusal

SCRIPT = """
replies:
  - {when: 'annual leave.*or write: none', say: 'Every employee has 25 days of annual leave.'}
  - {when: 'or write: none', say: 'none'}
  - {when: 'annual leave', say: 'Every employee has 25 days of annual leave.'}
  - {say: 'Cats wear boots on Fridays.'}
"""


def measure(folder: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parser = argparse.ArgumentParser()
    eval_refusal.arguments(parser)
    assert eval_refusal.run(parser.parse_args([str(folder), "--predictions", str(out), "--json", *options])) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return json.loads(capsys.readouterr().out), {row["_id"]: row for row in rows}


def test_the_whole_command(
    beir_folder: Path, ready_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = {"far": "who painted the Mona Lisa?", "near": "when is tea served on Sundays in the garden?"}
    (beir_folder / "unanswerable.jsonl").write_text("\n".join(json.dumps({"_id": id, "text": text}) for id, text in strange.items()))
    figures, rows = measure(beir_folder, tmp_path / "out.jsonl", capsys)
    assert (figures["answerable"], figures["unanswerable"], figures["gate_refused_wrongly"]) == (2, 2, 0)
    assert rows["far"]["gate"] == "refuse" and rows["near"]["gate"] == "answer", "a near miss is beyond the search"
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    monkeypatch.setenv("RELAY_FAKE", str(script))
    figures, rows = measure(beir_folder, tmp_path / "out.jsonl", capsys, "--model", "phi-4-mini")
    assert {id: (row["both"], row["refused"]) for id, row in rows.items()} == {
        "q1": ("answer", ""),
        "q2": ("refuse", "check"),
        "far": ("refuse", ""),
        "near": ("refuse", "check"),
    }
    assert rows["q1"]["carried"] == 1 and figures["both_refused_rightly"] == 1 and figures["both_auroc"] >= 0.75
    monkeypatch.setenv("RELAY_CHECK", "off")
    _, rows = measure(beir_folder, tmp_path / "out.jsonl", capsys, "--model", "phi-4-mini", "--limit", "1")
    assert set(rows) == {"q1", "far"}
