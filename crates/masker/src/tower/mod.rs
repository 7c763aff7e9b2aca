//! The masker as a tower layer for HTTP responses.
//!
//! [`MaskLayer`] masks everything a response carries: its headers, its body in whatever format and encoding it is,
//! and its trailers. Streams stay streams. What cannot be masked is refused; nothing passes unmasked.
//!
//! ```
//! use gatewayd_masker::{Masker, tower::MaskLayer};
//! use http::{Request, Response};
//! use http_body_util::{BodyExt as _, Full};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let upstream = service_fn(|_: Request<Full<&'static [u8]>>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::from("the key is AKIAZQ3DRSTUVWXY2345")))
//! });
//! let service = MaskLayer::new(Masker::builder().build()?).layer(upstream);
//! let response = service.oneshot(Request::new(Full::default())).await?;
//! let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
//! assert_eq!(body, "the key is [REDACTED:aws-access-key-id]");
//! # Ok(()) }
//! ```

mod body;
mod decode;
mod error;
mod head;
mod layer;
mod service;

pub use self::body::{MaskedBody, mask_request};
pub use self::error::{BoxError, MaskError};
pub use self::layer::MaskLayer;
pub use self::service::{MaskService, ResponseFuture};
