"""The real model server: llama.cpp's own HTTP server, on the loopback.

    python server.py --model FILE.gguf --api-key-file FILE [--port 0] [--alias NAME] [--grammar TEXT]

The first line on standard output is JSON and says where it listens. `--grammar` forces every answer of the
server into a GBNF grammar, so that a test can make any model say anything, token by token. Where the key
file has several lines, each is a key: that is how a key is rotated without a gap.
"""

import argparse
import json
import pathlib
import signal
import threading

import xllamacpp


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--api-key-file", required=True)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--alias", default="tiny")
    arguments.add_argument("--grammar")
    arguments.add_argument("--slots", type=int, default=2)
    options = arguments.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.api_keys = pathlib.Path(options.api_key_file).read_text().split()
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = 4096 * options.slots
    params.warmup = False
    # More threads than cores make it many times slower, and the gateway needs a core too.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    if options.grammar:
        kind = xllamacpp.common_grammar_type.COMMON_GRAMMAR_TYPE_USER
        params.sampling.grammar = xllamacpp.CommonGrammar(kind, options.grammar)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = xllamacpp.Server(params)
    print(json.dumps({"ready": True, "url": server.listening_address}), flush=True)
    stopped.wait()


if __name__ == "__main__":
    main()
