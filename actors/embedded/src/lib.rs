//! The embedded store: one folder, no other service.
