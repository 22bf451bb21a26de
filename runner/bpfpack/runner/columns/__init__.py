"""Events as columns: Apache Arrow record batches, streams of them, and Parquet files.

`schema` says what each field becomes, `tables` lets the engine fill the columns, `plain` does
the same in Python and is the reference, `arrow` makes arrays of what they give.  Only the
last two, and `writers`, import pyarrow.
"""
