//! Tower services that decide which model answers a request.
