"""What the commands are, as values, and what is made of it: pages, man pages, completions."""
