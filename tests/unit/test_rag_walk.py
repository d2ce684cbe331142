"""Which files an ingest is about, on a real folder."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from rag.manifest import DocumentInfo
from rag.walk import plan


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
def test_a_folder_that_cannot_be_read_loses_nothing() -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        for file in ("open/a.md", "closed/b.md"):
            (root / file).parent.mkdir()
            (root / file).write_text("text")

        def known(name: str) -> DocumentInfo:
            return DocumentInfo(name, "shared", f"{root}/{name}", name, "", 4, "md", name, 1, "ready", "", 0, 0, "")

        root.chmod(0o755)
        (root / "closed").chmod(0)
        if root_user := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            work = plan([root], None, [known("open/a.md"), known("open/gone.md"), known("closed/b.md")])
        finally:
            if root_user:
                os.seteuid(0)
            (root / "closed").chmod(0o755)
    assert work.gone == ("open/gone.md",)
    assert work.failed == (("closed", "The folder closed cannot be opened. Check that you may read it."),)
    assert [candidate.name for candidate in work.candidates] == ["a.md"]
