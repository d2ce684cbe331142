"""`relay COMMAND …`: finds the command's file, runs it, says errors as sentences. Knows no room's inside."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module
from typing import NoReturn

from base.errors import RelayError

COMMANDS = {
    "up": "set up what is missing and open the chat",
    "ask": "ask once, in the terminal",
    "route": "show which model would take a message, and why",
    "ingest": "add files or folders to the library",
    "models": "list, download and forget models",
    "users": "say who may sign in, and who is in which group",
    "doctor": "check this machine",
    "eval": "measure retrieval, refusal or routing on labelled data",
}


def main() -> None:
    """The entry point of `relay`."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows is not UTF-8 by itself
            stream.reconfigure(encoding="utf-8", errors="replace")
    parser = argparse.ArgumentParser(prog="relay", description="A local-first chat assistant.", epilog="relay COMMAND --help tells more.")
    parser.add_argument("--offline", action="store_true", help="never ask the network, not even for set-up")
    subs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    for name, about in COMMANDS.items():
        sub = subs.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        sub.add_argument("--offline", action="store_true", default=argparse.SUPPRESS, help="never ask the network")
        if name == wanted:  # only the one that runs is imported
            import_module(f"cli.{name}").arguments(sub)
    options = parser.parse_args()
    if options.offline:
        os.environ["RELAY_OFFLINE"] = "1"
    run(options)


def run(options: argparse.Namespace) -> NoReturn:
    """Run the command and leave with its exit code: 0 well, 1 an error that was said, 130 interrupted."""
    try:
        code = import_module(f"cli.{options.command}").run(options)
    except RelayError as error:
        print(f"relay: {error}", file=sys.stderr)
        code = 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        where = f" ({error.filename})" if error.filename else ""
        print(f"relay: {error.strerror or error}{where}. Check that RELAY_HOME is a folder that you may write to.", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("\nrelay: stopped. What was finished is kept.", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
