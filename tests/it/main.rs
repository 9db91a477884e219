//! One integration binary, a file per behaviour.
