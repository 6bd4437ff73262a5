//! Whole-product tests. All of them are in `tests/product`; the table of cases is in `README.md` beside this crate.
