"""Formats of checkpoint files: bytes of a stranger's file to checked arrays by name, without running anything that the file says."""
