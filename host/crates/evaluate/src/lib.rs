//! A model on rows, in the host's own executor: metrics with intervals, latency and memory on each backend.
