"""Which files an ingest is about, on a real folder."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from rag.manifest import DocumentInfo
from rag.walk import plan


def known(root: Path, *names: str) -> dict[str, DocumentInfo]:
    made = [DocumentInfo(name, "shared", f"{root}/{name}", name, "", 4, "md", name, 1, "ready", "", 0, 0, "") for name in names]
    return {info.source: info for info in made}


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
def test_a_folder_that_cannot_be_read_loses_nothing() -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        for file in ("open/a.md", "closed/b.md"):
            (root / file).parent.mkdir()
            (root / file).write_text("text")
        root.chmod(0o755)
        (root / "closed").chmod(0)
        if root_user := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            work = plan(root, known(root, "open/a.md", "open/gone.md", "closed/b.md"), {})
        finally:
            if root_user:
                os.seteuid(0)
            (root / "closed").chmod(0o755)
    assert [info.id for info in work.gone] == ["open/gone.md"] and work.reached
    assert work.failed == (("closed", "The folder closed cannot be opened. Check that you may read it."),)
    assert [candidate.name for candidate in work.candidates] == ["a.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_links_in_circles_end(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "a.md").write_text("text")
    (root / "in").mkdir()
    (root / "in" / "circle").symlink_to(root)
    (root / "self.md").symlink_to(root / "self.md")
    work = plan(root, known(root, "self.md"), {})
    assert [candidate.name for candidate in work.candidates] == ["a.md", "self.md"] and not work.gone
