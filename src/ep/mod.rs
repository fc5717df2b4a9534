//! Expectation propagation for spiking networks.
