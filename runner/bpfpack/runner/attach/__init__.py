"""Where programs are attached: one module for each family of targets."""
