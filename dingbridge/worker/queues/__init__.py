"""The records that a worker has fetched and not finished: order per key, committable offsets, pauses."""
