//! Predictive distribution to score to incident.
