"""A small model hub on loopback, for tests of downloads."""
