//! Values to spikes.
