//! Whole nodes under test, and the benchmarks.
