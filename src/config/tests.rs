//! What a configuration may say, and what is said about a wrong one.
