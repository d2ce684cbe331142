"""What a file looks like from outside: enough to see that it was not touched, without reading it. Knows no document."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

RACY_NS = 2_000_000_000
"""A file touched so shortly before a look may be touched again within the same tick of its disk's clock (2 s on FAT)."""
NEVER = -1
"""A time that no file has."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and times (ns since 1970) of a file, and the disk it is on."""

    size: int
    modified: int
    changed: int
    """Of its entry, where the platform tells: tools that set `modified` back cannot set this one back."""
    device: str

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """From what `stat` says."""
        # Times before 1970 and beyond 2262 do not fit a column; such a file is looked into each time.
        times = [time if 0 <= time < 1 << 63 else NEVER for time in (status.st_mtime_ns, status.st_ctime_ns)]
        return cls(status.st_size, times[0], times[1], str(status.st_dev))

    def same(self, other: Stamp | None) -> bool:
        """Whether the file is as it was. Its disk may have another number after a restart."""
        mine = (self.size, self.modified, self.changed)
        return other is not None and self.modified != NEVER and mine == (other.size, other.modified, other.changed)

    def kept(self, at: int) -> Stamp:
        """To be remembered by a look that began at `at` (ns): a file touched just before it is looked into again."""
        return self if max(self.modified, self.changed) < at - RACY_NS else replace(self, modified=NEVER)

    def settled(self, seconds: float) -> bool:
        """Whether nobody wrote for so long. A time in the future tells nothing (its disk has another clock), and counts as settled."""
        age = time.time_ns() - self.modified
        return not 0 <= age < seconds * 1e9
