//! Natter as a whole; everything is in `tests/`.
