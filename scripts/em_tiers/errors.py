"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """Bad input from outside: a config value, a data row, a file, an endpoint.

    The message names the thing, the value that was found, and the remedy, and nothing else:
    scripts print it without a traceback.
    """


class ConfigError(UserError):
    """A configuration or catalogue entry that cannot be used."""
