"""Records of parquet and arrow files; pyarrow alone reads them."""

from __future__ import annotations

from spillover.row_files.records import FileRecord, UnreadableRecord

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"


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
            table = pq.read_table(source)
        elif data.startswith(ARROW_FILE):
            table = pa.ipc.open_file(source).read_all()
        else:
            table = pa.ipc.open_stream(source).read_all()
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"it cannot be read as {kind}: {str(error).splitlines()[0][:200]}") from None
    return str(kind), [FileRecord(number, row) for number, row in enumerate(rows, start=1)]
