"""For developing the bridge, in no wheel: servers for demo and tests, the demo, the benchmarks."""
