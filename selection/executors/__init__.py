"""Where units are examined: in this process, in one process for each device, or on the machines of a Ray cluster.

All three examine alike, so their numbers are equal. An executor writes observations, each file whole or not at all and named by its content;
the ledger is written by the process that asked, alone.
"""

from selection.executors.executor import Executor, Failure
from selection.executors.inline import Inline

__all__ = ["Executor", "Failure", "Inline"]
