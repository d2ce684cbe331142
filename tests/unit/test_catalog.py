"""The catalog: what people write wrong is said with its line, and nothing breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import SettingsError
from router.catalog import CatalogFile, read_catalog

GOOD = """
places:
  here: {kind: endpoint, base_url: "http://127.0.0.1:9/v1"}
models:
  small:
    place: here
    capabilities: [general]
    priority: 1
    size_gb: 1
    context: 4096
    licence: MIT
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("priority: 1", "priority: one"), "line 8: 'priority' should be a whole number"),
        (GOOD.replace("priority: 1", "priority: true"), "line 8: 'priority' should be a whole number"),
        (GOOD.replace("priority: 1", "priority: -1"), "line 8: 'priority' should be a number of 0 or more"),
        (GOOD.replace("priority:", "prioritty:"), "line 8: unknown key 'prioritty'"),
        (GOOD.replace("    priority: 1\n", ""), "line 5: 'small' lacks priority"),
        (GOOD + "    licence: MIT\n", "line 12: the key 'licence' stands twice"),
        (GOOD.replace("place: here", "place: there"), "runs at 'there', which is no place"),
        (GOOD.replace("kind: endpoint", "kind: cloud"), "line 3: 'kind' should be one of"),
        (GOOD.replace("http://127.0.0.1:9/v1", "http://[::1"), "line 3: 'base_url' should be an address"),
        (GOOD + "    limits: {concurrent: 0}\n", "line 12: 'concurrent' should be a number of 1 or more"),
        (GOOD.replace("[general]", "general"), "line 7: 'capabilities' should be a list of words"),
        (GOOD.replace("context: 4096", "context: .inf"), "line 10: 'context' should be a whole number"),
        (GOOD.replace("size_gb: 1", "size_gb: .nan"), "line 9: 'size_gb' should be a number"),
        ("models: {a: *b}", "aliases"),
        ("models: !!python/object/apply:os.system [id]", "line 1"),
        ("a: " + "[" * 5_000, "too large or too deeply nested"),
        ("a: '" + "x" * 300_000 + "'", "larger than 256 KB"),
        ("models: {}", "names no model"),
        ("models: 3", "line 1"),
        ("modles: {}", "line 1: expected 'places:' or 'models:'"),
        ("- a\n- b", "line 1"),
        ("", "names no model"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_catalog(written(tmp_path, wrong))
    assert said in str(caught.value)


def test_the_shipped_catalog_declares_the_promised_models(tmp_path: Path) -> None:
    models = CatalogFile(tmp_path).current().models
    assert set(models["phi-4-mini"].capabilities) == {"general", "reasoning", "summarize"} and models["phi-4-mini"].priority == 2
    assert models["qwen2.5-0.5b"].capabilities == ("classification", "fast") and models["qwen2.5-0.5b"].priority == 3
    assert models["deepseek-coder-1.3b"].priority == 1 and set(models["gpt-oss-20b"].capabilities) == {"refine", "deep"}
    assert all(entry.price.output > 0 and entry.licence for entry in models.values())


def test_a_home_adds_to_the_catalog_and_a_broken_change_keeps_the_last_good_one(tmp_path: Path) -> None:
    catalogs = CatalogFile(tmp_path)
    assert "small" not in catalogs.current().models
    written(tmp_path, GOOD)
    assert {"small", "phi-4-mini"} <= set(catalogs.current().models)
    written(tmp_path, GOOD + "   broken")
    assert "small" in catalogs.current().models and "line 1" in str(catalogs.error)
    written(tmp_path, GOOD + "    max_output: 99\n")
    assert catalogs.current().models["small"].max_output == 99 and catalogs.error is None


def test_foundry_local_endpoint_moves_all_but_starters_and_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", "http://127.0.0.1:5273")
    catalog = CatalogFile(tmp_path).current()
    assert catalog.place(catalog.models["phi-4-mini"]).url == "http://127.0.0.1:5273/v1"
    assert catalog.place(catalog.models["smollm2-starter"]).kind == "foundry"


def test_an_address_that_is_none_blocks_its_models_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", "http://[bad")
    catalog = CatalogFile(tmp_path).current()
    assert catalog.place(catalog.models["phi-4-mini"]).url == ""
