"""Rows: read, sampled, fingerprinted, and compared with each other."""
