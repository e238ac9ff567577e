//! What the actors need from the world: small traits, their contract suites and in-memory doubles.
