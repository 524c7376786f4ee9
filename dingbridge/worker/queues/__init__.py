"""What a worker has fetched and not finished: order per key, committable offsets, what is shown of it."""
