"""The event engine: a batch of records to output bytes, in compiled code."""
