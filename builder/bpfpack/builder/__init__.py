"""Source to package: the compiler, BTF and the generated metadata."""
