//! The wire: frames, transports, connections.
