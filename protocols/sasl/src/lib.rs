//! SASL mechanisms as values without I/O: PLAIN, LOGIN, SCRAM-SHA-256.
