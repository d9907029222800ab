"""Tables as streams of Arrow, read and written by one thread.

Not as files of Arrow or Parquet: those are read by threads, and one that lets go of Python's bytes while the
program ends aborts it now and then ("terminate called without an active exception", pyarrow 26).
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from genre_jax.data.storage import Path


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table of rows with the same keys."""
    import pyarrow

    table = pyarrow.Table.from_pylist(list(rows))
    content = io.BytesIO()
    options = pyarrow.ipc.IpcWriteOptions(compression='zstd', use_threads=False)
    with pyarrow.ipc.new_stream(content, table.schema, options=options) as writer:
        writer.write_table(table)
    file.write_bytes(content.getvalue())


def read(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of a table; raises OSError or ValueError where it cannot be read."""
    import pyarrow

    options = pyarrow.ipc.IpcReadOptions(use_threads=False)
    try:
        table = pyarrow.ipc.open_stream(file.read_bytes(), options=options).read_all()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None
    return table.to_pylist()
