"""The exceptions that the command line turns into exit statuses.

Bad values raise ``ValueError``, bad types ``TypeError``, as everywhere in Python; these classes add only what a
caller may want to distinguish.
"""


class UsageError(ValueError):
    """The request itself is wrong: an unknown name, a setting that contradicts another. Exit status 2."""


class DataError(ValueError):
    """A file or a data set is missing, damaged or unusable. Names the file. Exit status 3."""


class Interrupted(Exception):  # noqa: N818  (not an error: the state is saved and the run continues with --resume)
    """A run was stopped by a signal after its state was saved. Exit status 4."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed. Names the command that installs it."""
