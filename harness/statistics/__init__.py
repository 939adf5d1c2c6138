"""Metrics, their intervals, and tests: numbers in, numbers out."""
