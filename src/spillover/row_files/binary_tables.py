"""Records of parquet and arrow files; pyarrow alone reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillover.row_files.decoding import LARGEST
from spillover.row_files.records import FileRecord, UnreadableRecord

if TYPE_CHECKING:
    import pyarrow.parquet as pq

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"


MOST_ROWS = 5_000_000  # of a file


def table_kind(data: bytes) -> str | None:
    """`parquet` or `arrow`; None where the bytes are neither."""
    if data.startswith(PARQUET):
        return "parquet"
    return "arrow" if data.startswith((ARROW_FILE, ARROW_STREAM)) else None


def table_records(data: bytes) -> tuple[str, list[FileRecord | UnreadableRecord]]:
    """What the bytes are, and their records by number from 1; ValueError where they are damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = table_kind(data)
    source = pa.BufferReader(data)
    try:
        if kind == "parquet":
            _expect_bounded(pq.ParquetFile(source))
            table = pq.read_table(pa.BufferReader(data))
        elif data.startswith(ARROW_FILE):
            table = pa.ipc.open_file(source).read_all()
        else:
            table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)
        if table.nbytes > LARGEST or table.num_rows > MOST_ROWS:
            raise ValueError(f"{table.num_rows:,} rows of {table.nbytes:,} bytes, more than is read of a file of rows")
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"it cannot be read as {kind}: {str(error).splitlines()[0][:200]}") from None
    return str(kind), [FileRecord(number, row) for number, row in enumerate(rows, start=1)]


def _expect_bounded(file: pq.ParquetFile) -> None:
    """ValueError where a parquet file says that it holds more than is read, or unpacks to more while it is read."""
    if file.metadata.num_rows > MOST_ROWS:
        raise ValueError(f"it says that it has {file.metadata.num_rows:,} rows, {MOST_ROWS:,} are the most")
    length = 0
    for batch in file.iter_batches(batch_size=1 << 14):
        length += batch.nbytes
        if length > LARGEST:
            raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
