"""Batches as bytes: streams of Arrow IPC messages, and Parquet files, written from front to end."""

import io
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from bpfpack.runner.columns.arrow import ArrowColumns

#: Rows of a row group, and the bytes that end one earlier: what is kept in memory.
GROUP_ROWS: Final = 512 * 1024
_GROUP_BYTES: Final = 64 << 20


class Writer(Protocol):
    """Takes batches with numbers, gives bytes that follow one another."""

    def begin(self) -> bytes:
        """What stands first."""
        ...

    def add(self, batch: pa.RecordBatch) -> bytes:
        """What can be written of it, and of those before."""
        ...

    def end(self) -> bytes:
        """What is left; nothing may be added later."""
        ...


class _Pieces(io.RawIOBase):
    """A file whose bytes are taken away while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._taken = 0
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        piece = bytes(data)
        self._pieces.append(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        """What was written since."""
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found


class ArrowWriter:
    """A stream: each batch is written at once, with the dictionaries that it needs."""

    def __init__(self, columns: ArrowColumns) -> None:
        self._columns, self._out = columns, _Pieces()
        self._writer = pa.ipc.new_stream(self._out, columns.schema)

    def begin(self) -> bytes:
        """The schema."""
        return self._out.take()

    def add(self, batch: pa.RecordBatch) -> bytes:
        """See `Writer`."""
        self._writer.write_table(self._columns.named([batch]))
        return self._out.take()

    def end(self) -> bytes:
        """The mark that ends it."""
        self._writer.close()
        return self._out.take()


class ParquetWriter:
    """A file: row groups of many batches, and what tells where they are at the end."""

    def __init__(self, columns: ArrowColumns) -> None:
        self._columns, self._out = columns, _Pieces()
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        names = [f.name for f in columns.schema if pa.types.is_dictionary(f.type)]
        self._writer = pq.ParquetWriter(
            self._out, columns.schema, compression="snappy", use_dictionary=names or False
        )

    def begin(self) -> bytes:
        """The magic number."""
        return self._out.take()

    def add(self, batch: pa.RecordBatch) -> bytes:
        """See `Writer`."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows < GROUP_ROWS and self._bytes < _GROUP_BYTES:
            return b""
        self._flush()
        return self._out.take()

    def end(self) -> bytes:
        """See `Writer`."""
        if self._batches:
            self._flush()
        self._writer.close()
        return self._out.take()

    def _flush(self) -> None:
        whole = self._columns.named(self._batches)
        self._batches.clear()
        self._rows = self._bytes = 0
        self._writer.write_table(whole, row_group_size=whole.num_rows)
