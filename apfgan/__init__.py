"""The generator and the records: networks, training, checkpoints, runs.

Everything below the three verb packages (`metrics`, `selection`, `reports`) lives here; `docs/ARCHITECTURE.md` draws the import picture.
"""

__version__ = "0.1.0"
