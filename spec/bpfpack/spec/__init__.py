"""What a package is: bytes in, values out.  No I/O, no ctypes, no network."""
