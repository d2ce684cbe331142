"""Measures against figures worked out by hand, and the whole command on a corpus of six documents."""

import argparse
import json
import math
from pathlib import Path

import pytest

from base.errors import KnowledgeError
from cli import eval_retrieval
from cli.beir import load, page
from rag import measures
from rag.parse import parse_html


def test_ndcg_is_what_one_gets_by_hand() -> None:
    judged = {"a": 3, "b": 2, "c": 1, "z": 0}
    # DCG 2/log2(2) + 0 + 3/log2(4) = 3.5; the ideal 3 + 2/log2(3) + 1/log2(4) = 4.7619.
    assert measures.ndcg(["b", "x", "a"], judged) == pytest.approx(3.5 / (3.5 + 2 / math.log2(3)), abs=1e-12)
    assert measures.ndcg(["b", "x", "a"], judged) == pytest.approx(0.7350, abs=1e-4)
    assert measures.ndcg(["a", "b", "c"], judged) == 1 and measures.ndcg(["x"], judged) == 0 and measures.ndcg(["a"], {}) == 0
    assert measures.ndcg(["x"] * 10 + ["a"], judged) == 0, "only the first ten count"


def test_other_measures() -> None:
    judged = {"a": 1, "b": 1, "z": 0}
    assert [measures.recall(["x", "a", "b"], judged, k) for k in (1, 2, 3)] == [0, 0.5, 1]
    assert measures.reciprocal_rank(["z", "x", "b"], judged) == pytest.approx(1 / 3)
    assert measures.reciprocal_rank(["x"] * 10 + ["a"], judged) == 0
    assert measures.auroc([3, 2], [1, 2]) == 0.875 and measures.auroc([1, 1], [1]) == 0.5 and measures.auroc([], [1]) == 0.5
    assert [measures.percentile([5, 1, 3, 2], p) for p in (50, 95, 100)] == [2, 5, 5] and measures.percentile([], 50) == 0


def test_a_run_never_ties() -> None:
    lines = list(eval_retrieval.trec("q", [("a", 0.5), ("b", 0.5), ("c", 0.1)]))
    assert lines[0] == "q Q0 a 1 0.500000 relay\n"
    values = [float(line.split()[4]) for line in lines]
    assert values == sorted(set(values), reverse=True)


def test_a_page_says_what_the_corpus_said() -> None:
    document = parse_html(page("A < B", "one & two\n\nthree </p> <script>four</script>").encode(), "x.html", "x")
    assert document.title == "A < B" and document.text == "one & two\n\nthree </p> <script>four</script>"


def test_the_whole_command(beir_folder: Path, ready_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run.txt"
    parser = argparse.ArgumentParser()
    eval_retrieval.arguments(parser)
    assert eval_retrieval.run(parser.parse_args([str(beir_folder), "--run", str(out), "--json"])) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["queries"], figures["documents"], figures["passages"], figures["no_text"]) == (2, 6, 6, 0)
    assert figures["mrr@10"] == figures["recall@5"] == 1 and figures["ndcg@10"] > 0.8
    lines = [line.split() for line in out.read_text().splitlines()]
    assert len(lines) == 12 and lines[0][:4] == ["q1", "Q0", "d/0", "1"]
    for query in ("q1", "q2"):
        found = [line[2] for line in lines if line[0] == query]
        assert sorted(found) == sorted(set(found))
    assert not ready_home.exists(), "nothing is left in the user's own library"


def test_unfit_data_is_said_with_its_line(beir_folder: Path) -> None:
    assert set(load(beir_folder).queries) == {"q1", "q2"}
    (beir_folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n[]\n')
    with pytest.raises(KnowledgeError, match=r"queries\.jsonl, line 2"):
        load(beir_folder)
    (beir_folder / "qrels" / "test.tsv").write_text("q1\td/0\n")
    (beir_folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    with pytest.raises(KnowledgeError, match=r"test\.tsv, line 1"):
        load(beir_folder)
    (beir_folder / "corpus.jsonl").unlink()
    with pytest.raises(KnowledgeError, match=r"corpus\.jsonl cannot be read"):
        load(beir_folder)
