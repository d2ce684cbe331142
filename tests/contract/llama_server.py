"""A real llama.cpp server in its own process: `python llama_server.py GGUF` prints its address, serves until its input closes."""

from __future__ import annotations

import sys

import xllamacpp


def main() -> None:
    """Serve the model on a free loopback port."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = 2
    params.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
