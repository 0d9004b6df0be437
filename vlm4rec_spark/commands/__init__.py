"""The commands of the command line, a file per group; `cli` puts them together."""
