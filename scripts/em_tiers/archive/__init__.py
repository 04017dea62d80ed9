"""The archive of an experiment: what it holds, how it is checked and restored."""
