"""The whole control flow in numpy and the standard library; it never reads a clock."""
