"""The error tree. `str(error)` is safe to show to a user: one sentence of what happened, one of what to do.

RelayError
├── SetupError            the machine is not ready: disk, port, a fetch or a conversion that failed
│   ├── FetchError        a file could not be fetched, or is not the file that was asked for
│   └── PrepareError      a model could not be converted or exported
├── SettingsError         a setting, the catalog or the rules cannot be read
├── RoutingError          no model can take the message
├── BackendError          a model was asked and did not answer
│   ├── Unreachable       nobody listens there, or the connection broke
│   ├── Refused           it answered with an error: key, model name, its own failure
│   ├── Limited           it asks to slow down
│   ├── Resting           it failed a moment ago, and one message at a time tries it again
│   ├── Unfit             the request does not fit the model: too long, or not understood
│   ├── TimedOut          it stayed silent for longer than its allowance
│   ├── Busy              its queue is full
│   └── CutShort          it stopped in the middle of an answer
└── KnowledgeError        a document or the library cannot be used
    ├── Unreadable        a file has no text that Relay can read
    └── LibraryInUse      another process owns the library
"""

from __future__ import annotations


class RelayError(Exception):
    """`what` happened and the `remedy`, both plain sentences without secrets."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {remedy}".strip())


class SetupError(RelayError):
    """The machine is not ready."""


class FetchError(SetupError):
    """A file could not be fetched, or is not the file that was asked for."""


class PrepareError(SetupError):
    """A model could not be converted or exported."""


class SettingsError(RelayError):
    """A setting, the catalog or the rules cannot be read."""


class RoutingError(RelayError):
    """No model can take the message."""


class BackendError(RelayError):
    """A model was asked and did not answer."""

    def __init__(self, what: str, remedy: str = "", retry_after: float = 0.0) -> None:
        super().__init__(what, remedy)
        self.retry_after = retry_after
        """Seconds that the server asked to wait; 0 when it did not say."""


class Unreachable(BackendError):
    """Nobody listens there, or the connection broke."""


class Refused(BackendError):
    """It answered with an error."""


class Limited(BackendError):
    """It asks to slow down."""


class Resting(BackendError):
    """It failed a moment ago, and one message at a time tries it again."""


class Unfit(BackendError):
    """The request does not fit the model."""


class TimedOut(BackendError):
    """It stayed silent for longer than its allowance."""


class Busy(BackendError):
    """Its queue is full."""


class CutShort(BackendError):
    """It stopped in the middle of an answer."""


class KnowledgeError(RelayError):
    """A document or the library cannot be used."""


class Unreadable(KnowledgeError):
    """A file has no text that Relay can read."""


class LibraryInUse(KnowledgeError):
    """Another process owns the library."""
