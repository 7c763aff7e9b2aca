//! gatewayd: proxy.
