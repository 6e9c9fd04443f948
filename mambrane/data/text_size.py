"""How much text the files of a domain hold, whether it was read or not."""

from collections.abc import Collection, Hashable, Mapping

from mambrane.data.documents import read_text
from mambrane.data.source_files import DomainSource, SourceFile, status_of


def bytes_there(
    source: DomainSource, read_bytes: Mapping[int, int], cut_files: Collection[int], *, is_capped: bool
) -> int | None:
    """Return how many bytes of text a domain's files hold; None where only reading them to the end could tell.

    Of a file that was read to its end it is the text that it gave. Of any other it is the size of the file, exact for
    plain text. Rows of JSON or Parquet, compressed text and text picked out of a file are fewer or more bytes than the
    file: there it is an estimate, the size times the part of text in the files of that kind that were read to the end.

    A cut file whose estimate is no more than what it gave, as of text that is compressed well, tells nothing.

    Args:
        source: the domain.
        read_bytes: bytes of text by number of the file that gave them.
        cut_files: numbers of the files that were not read to their end.
        is_capped: whether reading may have stopped before the last file.
    """
    if any(source.files[index].is_remote for index in cut_files):
        return None
    sizes = {index: 0 if file.is_remote else status_of(file).st_size for index, file in enumerate(source.files)}
    whole = read_bytes.keys() - set(cut_files)
    text_by_kind: dict[Hashable, int] = {}
    size_by_kind: dict[Hashable, int] = {}
    for index in whole:
        kind = _kind(source.files[index])
        text_by_kind[kind] = text_by_kind.get(kind, 0) + read_bytes[index]
        size_by_kind[kind] = size_by_kind.get(kind, 0) + sizes[index]
    total = sum(read_bytes[index] for index in whole)
    for index in sizes.keys() - whole:
        text_ratio = 1.0
        kind = _kind(source.files[index])
        if not _is_plain(source.files[index]):
            if not is_capped:
                continue
            text_ratio = text_by_kind[kind] / size_by_kind[kind] if size_by_kind.get(kind) else 1.0
        estimate = round(sizes[index] * text_ratio)
        if index in cut_files and estimate <= read_bytes[index]:
            return None
        total += estimate
    return total


def _kind(file: SourceFile) -> Hashable:
    return file.read, file.path.suffix.lower() == ".gz"


def _is_plain(file: SourceFile) -> bool:
    return _kind(file) == (read_text, False)
