"""Carry out runs: in this process, on Ray or on SLURM. The engines schedule and start processes; this package says what is to
be done, in which groups, and what became of it."""
