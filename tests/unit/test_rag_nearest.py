"""Exact search in memory against the plainest possible one, through thousands of changes."""

import random

import numpy as np
import pytest

from rag import nearest, retrieve
from rag.nearest import Rows


def unit(rng: np.random.Generator, count: int) -> nearest.Vectors:
    vectors = rng.standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_rows_agree_with_a_plain_search() -> None:
    rng, dice, rows = np.random.default_rng(1), random.Random(1), Rows()
    truth: dict[int, tuple[str, nearest.Vectors]] = {}
    for _ in range(300):
        if truth and dice.random() < 0.4:
            gone = dice.sample(sorted(truth), min(len(truth), dice.randint(1, 20)))
            rows.delete([*gone, 10**9])
            for id in gone:
                del truth[id]
        else:
            ids = dice.sample(range(3000), dice.randint(1, 60))
            scopes, vectors = [dice.choice("abc") * 3 for _ in ids], unit(rng, len(ids))
            rows.add(ids, scopes, vectors)
            truth.update(zip(ids, zip(scopes, vectors, strict=True), strict=True))
        query = unit(rng, 1)[0]
        for allowed in (("aaa",), ("aaa", "ccc"), ("aaa", "bbb", "ccc", "ddd"), ("ddd",), ()):
            cosines = {id: float(vector @ query) for id, (scope, vector) in truth.items() if scope in allowed}
            wanted = sorted(cosines, key=lambda id: -cosines[id])[:10]
            found = rows.nearest(query, allowed, 10)
            assert len(found) == len(wanted)
            assert [cosines[id] for id in found] == pytest.approx([cosines[id] for id in wanted], abs=1e-5)


def test_too_many_rows_are_given_up() -> None:
    rng, rows = np.random.default_rng(1), Rows(most=100)
    rows.add(range(100), ["a"] * 100, unit(rng, 100))
    rows.add(range(50), ["a"] * 50, unit(rng, 50))
    assert not rows.full and len(rows.nearest(unit(rng, 1)[0], ("a",), 500)) == 100
    rows.add([100], ["a"], unit(rng, 1))
    rows.add([1], ["a"], unit(rng, 1))
    assert rows.full


def test_the_best_sentence_is_found_for_each_passage() -> None:
    query = np.array([1, 0], dtype=np.float32)
    parts = [np.array([[0, 5], [30, 40]], dtype=np.float32), None, np.zeros((0, 2), dtype=np.float32), np.array([[9, 0]], dtype=np.float32)]
    best = retrieve.best_parts(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32), parts, query)
    assert best.tolist() == pytest.approx([0.6, 0.2, 0.3, 1.0])


def test_a_part_that_is_gone_meanwhile_adds_nothing() -> None:
    rows = Rows()
    rows.add([1], ["shared"], np.ones((1, 4), dtype=np.float32))
    rows.add([], [], np.zeros((0, 0), dtype=np.float32))
    assert rows.nearest(np.ones(4, dtype=np.float32), ("shared",), 5) == [1]
