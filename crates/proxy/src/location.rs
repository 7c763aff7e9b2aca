//! Where an upstream may send a caller: to the gateway, or nowhere.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

/// The headers that name a place.
const PLACES: [HeaderName; 2] = [LOCATION, CONTENT_LOCATION];

/// True if the answer names a place.
pub(crate) fn is_named(headers: &HeaderMap) -> bool {
    PLACES.iter().any(|name| headers.contains_key(name))
}

/// Makes each place at the upstream one at the gateway, a path, and drops any other.
///
/// A caller who followed an upstream to another origin would go around every control, with its credential.
pub(crate) fn keep_at_gateway(base: &Url, asked: &Url, headers: &mut HeaderMap) {
    for name in PLACES {
        let Some(value) = headers.get(&name) else { continue };
        match at_gateway(base, asked, value) {
            Some(path) => drop(headers.insert(name, path)),
            None => drop(headers.remove(name)),
        }
    }
}

/// The place as a path below the base, if it is there.
fn at_gateway(base: &Url, asked: &Url, place: &HeaderValue) -> Option<HeaderValue> {
    let place = std::str::from_utf8(place.as_bytes()).ok()?;
    let url = asked.join(place).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    let path = match url.path().strip_prefix(base.path().trim_end_matches('/'))? {
        "" => "/",
        path => path,
    };
    // `//host` would be another origin, and what goes on behind a prefix (`/v1` in `/v10`) another path.
    if !path.starts_with('/') || path.starts_with("//") {
        return None;
    }
    let relative = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    HeaderValue::from_str(&relative).ok()
}
