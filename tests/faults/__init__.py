"""Everything that goes wrong in a long run, done to it on purpose, many times."""
