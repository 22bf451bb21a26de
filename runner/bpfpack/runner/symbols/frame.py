"""One place in a stack."""

from typing import NamedTuple


class Frame(NamedTuple):
    """An address and what is known of it; ``offset`` is that in the function.

    ``file`` is the mapped file as its process calls it, the kernel's module in brackets, or
    "[jit]" for code that a process made as it ran.
    """

    address: int
    function: str | None = None
    offset: int = 0
    file: str | None = None

    def text(self) -> str:
        """What a person reads: the function, else the file, else that it is unknown.

        >>> Frame(1, "main", 0, "/bin/a").text(), Frame(1, file="/lib/b.so").text()
        ('main', '[b.so]')
        """
        if self.function is not None:
            return self.function
        if self.file is None:
            return "[unknown]"
        return f"[{self.file.rpartition('/')[2].strip('[]')}]"
