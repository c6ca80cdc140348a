//! System calls that safe wrappers lack.
