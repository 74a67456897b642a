"""TensorBoard's file of curves and pictures, written one epoch at a time. Needs the package `tensorboard`, and no network library."""

import os
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from apfgan.files import append_bytes, write_bytes


class EventFile:
    """The one file of its folder that holds anything: what earlier ones held must be added again."""

    def __init__(self, folder: Path) -> None:
        for stale in folder.glob("*tfevents*"):
            if stale.stat().st_size:
                os.truncate(stale, 0)  # not removed: a viewer that has it open would never come to the next
            else:
                stale.unlink()
        # Never the name of a file before it: a viewer that looks on remembers how far it has read in each.
        self._path = folder / f"events.out.tfevents.{time.time_ns() // 1000:017d}.apfgan"
        # The second event tells such a viewer to forget all that it has read.
        start = [Event(file_version="brain.Event:2"), Event(step=0, session_log=SessionLog(status=SessionLog.START))]
        write_bytes(self._path, b"".join(map(_framed, start)))

    def add(self, epoch: int, scalars: Mapping[str, float], *, pictures: Mapping[str, bytes], moment: float) -> None:
        """Add what is known of an epoch that ended at `moment` (seconds since 1970): numbers, and JPEG files. Not flushed to the disk."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        values += [Summary.Value(tag=tag, image=_image(content)) for tag, content in pictures.items()]
        append_bytes(self._path, _framed(Event(wall_time=moment, step=epoch, summary=Summary(value=values))))


def _image(content: bytes) -> Summary.Image:
    width, height = Image.open(BytesIO(content)).size
    return Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)


def _framed(event: Event) -> bytes:
    buffer = BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()
