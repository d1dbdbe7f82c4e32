//! bexpr
