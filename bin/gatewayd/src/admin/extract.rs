//! What a caller of the admin API sends, and problem details where it is not what was expected.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use gatewayd_core::RefusalCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::PATIENCE;
use super::auth::Problem;
use super::places;

/// The query of the request's URL.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|error: QueryRejection| unexpected(error.body_text()))
    }
}

/// The request's body, JSON.
pub(crate) struct Sent<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let asked = request.extensions().get::<places::Asked>().cloned();
        let Ok(body) = tokio::time::timeout(PATIENCE, Json::from_request(request, state)).await else {
            let message =
                format!("the body did not arrive within {} seconds; send it faster", PATIENCE.as_secs());
            return Err(Problem::new(RefusalCode::RequestTimeout, message));
        };
        if let Some(asked) = asked {
            asked.has_arrived();
        }
        body.map(|Json(sent)| Self(sent)).map_err(|error: JsonRejection| unexpected(error.body_text()))
    }
}

fn unexpected(why: String) -> Problem {
    Problem::new(RefusalCode::InvalidRequest, why)
}
