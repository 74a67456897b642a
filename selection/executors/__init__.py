"""Where units are examined: in this process, in one process for each device, or on the machines of a Ray cluster.

All three examine alike, so their numbers are equal. An executor writes observations, each file whole or not at all and named by its content;
the ledger is written by the process that asked, alone.
"""

from selection.executors.executor import Executor, Failure
from selection.executors.inline import Inline
from selection.executors.opening import ExecutorKind, open_executor
from selection.executors.worker import WorkOrder

__all__ = ["Executor", "ExecutorKind", "Failure", "Inline", "WorkOrder", "open_executor"]
