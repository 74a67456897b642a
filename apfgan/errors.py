"""What can go wrong for a user, with the exit code that each kind of failure has.

A message names what, where, why and the command that mends it. `cli.py` turns these into one short paragraph and the exit code;
anything else that escapes is a bug of ours (exit code 1, with its traceback).
"""


class ApfganError(Exception):
    """Base of every failure that a user can mend."""

    exit_code = 1


class UsageError(ApfganError):
    """The request itself does not make sense (an option, a setting, an epoch that does not exist)."""

    exit_code = 2


class DataError(ApfganError):
    """A photo, label map or table cannot be used."""

    exit_code = 3


class WeightsError(ApfganError):
    """A checkpoint or a judge's weights are missing, damaged or of another shape."""

    exit_code = 4


class EnvironmentProblem(ApfganError):
    """The machine cannot do it: disk, lock, device, missing package."""

    exit_code = 5
