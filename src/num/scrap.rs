//! Working memory that is no part of the state it lies in.

/// Buffers that are kept for their memory alone: a copy starts empty, and any two are equal, so
/// that the state around them can be compared and copied as if they were not there.
#[derive(Debug, Default)]
pub struct Scrap<T>(pub T);

impl<T: Default> Clone for Scrap<T> {
    fn clone(&self) -> Scrap<T> {
        Scrap::default()
    }
}

impl<T> PartialEq for Scrap<T> {
    fn eq(&self, _: &Scrap<T>) -> bool {
        true
    }
}
