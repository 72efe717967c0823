"""One file a command; its `main` is given the words after the command's name."""
