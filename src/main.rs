//! The thin binary: parse, run the command, map the outcome to an exit code; nothing else.

fn main() {}
