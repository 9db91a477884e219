//! Lists that once failed, by what they had found.
