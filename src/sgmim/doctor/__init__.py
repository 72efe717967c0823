"""Whether a machine and a run are well, and what is wrong with them."""
