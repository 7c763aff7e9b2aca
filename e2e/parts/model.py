"""The model server: llama.cpp's own, with a real model or a tiny random one."""

import pathlib

from .process import PYTHON, REAL, ROOT, Process

TINY = REAL / "tiny.gguf"
SMOLLM2 = REAL / "smollm2.gguf"


def says(text: str) -> str:
    """A grammar that lets a model say exactly this."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'root ::= "{escaped}"'


class ModelServer:
    """A running model server that answers only to its key."""

    def __init__(self, folder: pathlib.Path, key: str, model=TINY, alias="tiny", grammar=None, port=0):
        folder.mkdir(parents=True, exist_ok=True)
        key_file = folder / f"{alias}.key"
        key_file.touch(mode=0o600)
        key_file.write_text(key)
        command = [PYTHON, ROOT / "e2e/model/server.py", "--model", model, "--api-key-file", key_file]
        command += ["--alias", alias, "--port", port] + (["--grammar", grammar] if grammar else [])
        self.process = Process(f"model {alias}", command, folder / f"model-{alias}.log")
        self.url = ""

    def start(self) -> "ModelServer":
        self.url = self.process.start_and_read_ready_line()["url"]
        return self

    def stop(self) -> None:
        self.process.stop()
