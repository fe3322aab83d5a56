"""The command line ``ebt-policy``: one module a subcommand, and the entry points of the nodes."""
