"""From addresses of stacks to names of functions, of the kernel and of processes."""
