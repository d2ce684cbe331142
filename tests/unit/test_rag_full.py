"""A disk that is really full: a small one of its own, mounted where only the child sees it, and gone with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from base.settings import ROOT

CHILD = Path(__file__).with_name("full_disk_child.py")
ALONE = ["unshare", "-rm", "sh", "-c"]


def can_mount(folder: Path) -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*ALONE, f"mount -t tmpfs none '{folder}'"], capture_output=True).returncode == 0


def test_a_full_disk_loses_nothing_and_is_said_plainly(tmp_path: Path, models: Path) -> None:
    disk, files = tmp_path / "disk", tmp_path / "files"
    disk.mkdir()
    files.mkdir()
    if not can_mount(disk):
        pytest.skip("may not mount a small disk here")
    script = (
        f"mount -t tmpfs -o size=14m none '{disk}' && exec '{sys.executable}' '{Path(__file__).with_name('full_disk_child.py')}' \"$@\""
    )
    command = [*ALONE, script, "sh", str(disk), str(files), str(models)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
