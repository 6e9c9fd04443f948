"""The rows of a Parquet file as documents; needs the package pyarrow, which nothing else does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.optional_package import optional_package
from mambrane.core.printable import printable_path
from mambrane.data.documents import limited, no_text_field

ROWS_AT_ONCE = 1024


def read_parquet(path: Path, limit: int) -> Iterator[bytes]:
    """Yield the `text` column row by row; rows without text are passed over.

    Raises:
        UserError: the package pyarrow is not installed, or the file has no such column or is damaged.
    """
    yield from limited(_texts(path), limit)


def _texts(path: Path) -> Iterator[bytes]:
    way = "convert the file to jsonl with a field `text`"
    # Takes a third of a second, and few runs need it.
    parquet = optional_package("pyarrow.parquet", extra="parquet", asked_for=printable_path(path), otherwise=way)
    from pyarrow import ArrowException

    try:
        with parquet.ParquetFile(path) as file:
            column = _text_column(path, file.schema_arrow)
            first_row = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[column]):
                yield from _encoded(
                    batch.column(0), f"{printable_path(path)}, rows {first_row:,} to {first_row + len(batch) - 1:,}"
                )
                first_row += len(batch)
    except (ArrowException, OSError) as error:
        raise UserError(
            f"{printable_path(path)}: not a whole parquet file ({error})",
            wanted="a parquet file",
            way_out="copy or download the file again",
        ) from error


def _text_column(path: Path, schema: Any) -> str:  # noqa: ANN401 -- pyarrow has no types
    """Return the name of the one column that holds the text.

    Raises:
        UserError: there is none, it holds something else, or there are several.
    """
    columns = schema.get_all_field_indices("text")
    if len(columns) > 1:
        raise UserError(
            f"{printable_path(path)}: {len(columns)} columns named `text`",
            wanted="one column named `text`",
            way_out="write the file again with one of them",
        )
    if not columns or not _holds_text(schema.field(columns[0]).type):
        raise no_text_field(printable_path(path), [f"{field.name} ({field.type})" for field in schema])
    return "text"


def _encoded(column: Any, where: str) -> list[bytes]:  # noqa: ANN401 -- pyarrow has no types
    try:
        return [text.encode("utf-8") for text in column.to_pylist() if text is not None]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: a text that is not UTF-8 ({error.reason}: 0x{error.object[error.start]:02x})",
            wanted="a text column that holds UTF-8",
            way_out="write the file again from its source, or leave it out",
        ) from error


def _holds_text(kind: Any) -> bool:  # noqa: ANN401 -- pyarrow has no types
    from pyarrow import types

    if types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
