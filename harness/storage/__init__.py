"""Folders at a URL (object stores): files read and written whole, leases in place of locks, copies on this machine."""
