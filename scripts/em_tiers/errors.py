"""The errors that a user can correct, and those that may pass by themselves."""


class UserError(Exception):
    """Bad input from outside: a config value, a data row, a file, an endpoint.

    The message names the thing, the value that was found, and the remedy, and nothing else:
    scripts print it without a traceback. A retry of the job would fail in the same way.
    """


class ConfigError(UserError):
    """A configuration or catalogue entry that cannot be used."""


class TemporaryError(UserError):
    """A failure that may pass: a busy server, a cut connection, a file held by another job.

    Attributes:
        retry_after_s: seconds that the other side wants to be left alone; None: it does not say.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None):
        super().__init__(reason)
        self.retry_after_s = retry_after_s
