//! Bootstraps that must be refused, each with the field path of its mistake.
