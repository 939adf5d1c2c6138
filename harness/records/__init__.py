"""What runs left on disk, written and read back."""
