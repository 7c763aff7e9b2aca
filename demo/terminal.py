"""How the story looks: headings, who says what, and a mark for each thing that was to be shown."""

import os
import sys
import textwrap

_COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
_WIDTH = 100


def _paint(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if _COLOUR else text


def bold(text: str) -> str:
    return _paint("1", text)


def dim(text: str) -> str:
    return _paint("2", text)


def out(text: str = "") -> None:
    print(text, flush=True)


def chapter(number: int, title: str) -> None:
    out()
    out(bold(_paint("36", f"{number}  {title}")))


def line(label: str, text: str) -> None:
    """One fact: `who   alice, in ml-eng`."""
    body = textwrap.wrap(text, _WIDTH - 20, break_long_words=False, break_on_hyphens=False) or [""]
    out(f"   {dim(f'{label:>15}')}  {body[0]}")
    for more in body[1:]:
        out(" " * 20 + more)


def stream(label: str, pieces) -> str:
    """Prints pieces of text as they arrive; returns them joined."""
    print(f"   {dim(f'{label:>15}')}  ", end="", flush=True)
    text, column = "", 20
    for piece in pieces:
        text += piece
        for word in piece.replace("\n", " ").splitlines() or [""]:
            if column + len(word) > _WIDTH:
                print("\n" + " " * 20, end="")
                column, word = 20, word.lstrip()
            print(word, end="", flush=True)
            column += len(word)
    out()
    return text


def command(words: str, output: str, limit: int = 16) -> None:
    """A command and what it printed."""
    out(f"   {dim('$')} {bold(words)}")
    lines = output.rstrip().splitlines()
    for text in lines[:limit]:
        out(f"     {text.rstrip()}")
    if len(lines) > limit:
        out(dim(f"     ... {len(lines) - limit} more lines"))


def mark(good: bool, what: str) -> None:
    out(f"   {_paint('32', '✓') if good else _paint('31;1', '✗ NOT SHOWN:')} {what}")
