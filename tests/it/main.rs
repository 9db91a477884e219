//! One integration binary, a file per behaviour.

mod broker;
