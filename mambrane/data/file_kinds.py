"""Which reader a file has: chosen by its suffix."""

from pathlib import Path

from mambrane.data.documents import Reader, read_jsonl, read_text
from mambrane.data.parquet import read_parquet

PLAIN_TEXT = """
    .txt .text .md .rst .tex .py .pyi .c .h .cc .cpp .hpp .cu .cuh .java .js .ts .go .rs .r .jl .sh .sql .html .htm
    .xml .yaml .yml .toml .ini .cfg .json .csv .tsv .css
"""
READABLE = "txt, md, py and other plain text; jsonl and parquet with a `text` column; gz of the text kinds"


def reader_for(path: Path) -> Reader | None:
    """Return the reader for a file of that name, or None if no reader knows its suffix."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [".parquet"]:
        return read_parquet
    kind = suffixes[0] if len(suffixes) == 2 and suffixes[1] == ".gz" else "".join(suffixes[-1:])
    if kind in PLAIN_TEXT.split():
        return read_text
    return read_jsonl if kind in (".jsonl", ".ndjson") else None
