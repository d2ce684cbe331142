"""`relay ingest` as it is typed: what it prints, what it gives back, how it tells how far it is."""

import argparse
import json
from pathlib import Path

import pytest

from base.errors import KnowledgeError
from cli import bars, ingest
from rag.pace import Pace
from rag.scopes import scope_named
from rag.stamp import Stamp
from rag.walk import Candidate


def relay(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """(exit code, standard output) of `relay ingest WORDS`."""
    parser = argparse.ArgumentParser()
    ingest.arguments(parser)
    code = ingest.run(parser.parse_args(words))
    return code, capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "docs"
    made.mkdir()
    (made / "tea.md").write_text("# Tea\n\nTea is served at four.\n")
    (made / "bare.md").write_text("<!-- nothing -->\n")
    return made


def test_a_folder_from_its_first_reading_to_its_last(
    ready_home: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_FAKE", str(folder / "script.yaml"))  # no model is needed to read documents
    monkeypatch.setenv("RELAY_DEMO", "off")
    bare = "  bare.md: bare.md holds no text beside its title or markup. Add a file with text in it.\n"
    line = "1 added, 0 changed, 0 moved, 0 deleted, 0 unchanged, 0 failed, 1 no text; 1 passage\n"
    assert relay(capsys, str(folder), "--to", "mine", "--watch") == (0, line + bare)
    (folder / "tea.md").rename(folder / "drinks.md")
    (folder / "empty.md").write_text("")
    code, text = relay(capsys)
    assert code == 1 and text.startswith("0 added, 0 changed, 1 moved, 0 deleted, 0 unchanged, 1 failed, 1 no text; 0 passages\n")
    (folder / "empty.md").unlink()
    (folder / "drinks.md").unlink()
    code, text = relay(capsys, "--again", "--no-delete", "--json")
    assert (code, json.loads(text)["deleted"]) == (0, 0)
    code, text = relay(capsys, "--again", "--json")
    told = json.loads(text)
    assert (code, told["deleted"], told["moved"], told["reached"], len(told["no_text"])) == (0, 2, 0, True, 1)
    code, text = relay(capsys, "--list", "--json")
    (info,) = json.loads(text)
    assert (info["path"], info["scope"], info["watched"], info["state"]) == (str(folder), "user:local", True, "in step")
    away = folder.rename(folder.parent / "away")
    code, text = relay(capsys, "--again")
    assert code == 1 and "docs: The folder docs cannot be reached" in text
    text = relay(capsys, "--list")[1]
    assert "user:local, watched, synced 2" in text and "cannot be reached)" in text
    assert relay(capsys, "--forget", str(folder))[1].startswith(f"Forgot {folder}; its documents are gone")
    assert relay(capsys, "--list") == (0, "No folder is remembered yet.\n") and away.is_dir()
    with pytest.raises(KnowledgeError, match="No folder is remembered yet"):
        relay(capsys)
    with pytest.raises(KnowledgeError, match="is not remembered"):
        relay(capsys, "--forget", str(folder))
    for words in (["--again", "--list"], [str(away), "--list"], ["--watch"], ["--watch", str(away / "bare.md")]):
        with pytest.raises(KnowledgeError):
            relay(capsys, *words)


def test_names_of_collections() -> None:
    assert [scope_named(name) for name in ("shared", "mine", "user:a.b@c.de", "group:Buero-2")] == [
        *("shared", "user:local", "user:a.b@c.de", "group:buero-2")
    ]
    for name in ("demo", "chat:1", "legal", "group:", "group:a b", "user:../x", "user:-x", "", "shared\nx"):
        with pytest.raises(KnowledgeError, match="Use shared, mine"):
            scope_named(name)


def test_lines_tell_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    say = bars._Lines(lambda: now[0])
    for second in range(241):
        now[0] = float(second)
        say("Reading 9 files", second / 400)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["Reading 9 files …", "Reading 9 files … 2 %, about 6 min left", "Reading 9 files … 5 %, about 6 min left"]
    assert lines[-1] == "Reading 9 files … 57 %, about 3 min left" and len(lines) == 12
    assert [bars.spell(seconds) for seconds in (1, 33, 59, 89, 3000, 9000)] == ["5 s", "35 s", "1 min", "1 min", "50 min", "2.5 h"]


def test_progress_is_by_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine small files and a large one: when only the small ones are through, little is done."""
    monkeypatch.setattr("rag.pace.EVERY_S", 0)
    told: list[float] = []
    files = [Candidate(Path(f"{n}.md"), f"{n}.md", f"{n}.md", Stamp(1_000, 0, 0, "")) for n in range(9)]
    large = Candidate(Path("large.md"), "large.md", "large.md", Stamp(200_000, 0, 0, ""))
    pace = Pace("Reading", [*files, large], lambda _label, fraction=None, /: told.append(fraction or 0.0))
    for file in files:
        pace.looked(file, 5)
        pace.embedded(5)
    assert 0.05 < told[-1] < 0.12, "the small ones hold more in a byte than was guessed, and so will the large one"
    pace.looked(large, 1000)
    for _ in range(20):
        pace.embedded(50)
    assert told[-11] == pytest.approx(0.5, abs=0.06)
    assert told[-1] == pytest.approx(1) and told == sorted(told)
