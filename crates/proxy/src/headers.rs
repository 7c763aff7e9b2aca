//! Which headers cross the gateway, in each direction.

use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFRESH, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};

/// Headers of one connection (RFC 9110, 7.6.1), which end at each hop.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What a caller may not tell an upstream: framing and addresses are ours to say, cookies are for us.
const NOT_FROM_CALLERS: [HeaderName; 6] = [HOST, CONTENT_LENGTH, EXPECT, FORWARDED, VIA, COOKIE];

/// By these a proxy in front vouches for who the caller is, or asks for another method or path than the one
/// that was judged. There is no proxy between us and the upstream, so all of them are a caller's word.
const VOUCHING: Names = Names {
    whole: &[
        "cdn-loop",
        "client-cert",
        "client-cert-chain",
        "forwarded-for",
        "forwarded-proto",
        "remote-user",
    ],
    starts: &["cf-", "fastly-", "ssl-client-"],
};

/// The same behind an `x-`, apart so that each name is compared with few.
const VOUCHING_X: Names = Names {
    whole: &[
        "client-verify",
        "host",
        "http-host-override",
        "http-method",
        "http-method-override",
        "method-override",
        "originating-ip",
        "override-url",
        "proxyuser-ip",
        "real-ip",
        "remote-addr",
        "remote-ip",
        "remote-user",
        "scheme",
    ],
    starts: &[
        "amzn-",
        "appengine-",
        "auth-request-",
        "authenticated-",
        "azure-",
        "client-cert",
        "envoy-",
        "forwarded",
        "goog-authenticated-user-",
        "goog-iap-",
        "ms-client-principal",
        "original-",
        "rewrite-",
        "ssl-",
    ],
};

/// The same, by how a name ends.
const VOUCHING_ENDS: [&str; 3] = ["client-ip", "clientip", "connecting-ip"];

/// Names of headers, given whole or by how they begin.
struct Names {
    whole: &'static [&'static str],
    starts: &'static [&'static str],
}

impl Names {
    fn hold(&self, name: &str) -> bool {
        self.whole.contains(&name) || self.starts.iter().any(|start| name.starts_with(start))
    }
}

/// What an upstream may not tell a caller: it would speak for the gateway's own address, or to a web
/// server in front of it.
const NOT_FROM_UPSTREAMS: [HeaderName; 7] = [
    ALT_SVC,
    REFRESH,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-sendfile"),
];

/// Takes out of a request what must not reach the upstream.
pub(crate) fn clean_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in NOT_FROM_CALLERS {
        headers.remove(name);
    }
    // `X_Forwarded_For` reaches many servers as `X-Forwarded-For`: names with `_` do not pass.
    remove_if(headers, |name| name.as_str().contains('_') || is_vouching(name.as_str()));
}

/// Whether a header of this name is sent to upstreams. One that only a proxy could vouch for, or that frames the
/// message, is not, whoever put it there; so a credential cannot be sent in it.
#[must_use]
pub fn is_sent(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(name)
        && !NOT_FROM_CALLERS.contains(name)
        && !name.as_str().contains('_')
        && !is_vouching(name.as_str())
}

fn is_vouching(name: &str) -> bool {
    // Keys of an upstream behind Cloudflare Access, which the gateway may have injected.
    if matches!(name, "cf-access-client-id" | "cf-access-client-secret") {
        return false;
    }
    let is_named = match name.strip_prefix("x-") {
        Some(rest) => VOUCHING_X.hold(rest),
        None => VOUCHING.hold(name),
    };
    is_named || VOUCHING_ENDS.iter().any(|end| name.ends_with(end))
}

/// Takes out of an answer what must not reach the caller.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in NOT_FROM_UPSTREAMS {
        headers.remove(name);
    }
}

/// Takes out of trailers what only a head may say.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    clean_response(trailers);
    use http::header::{CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, LOCATION};
    for name in [CONTENT_LENGTH, HOST, CONTENT_TYPE, CONTENT_ENCODING, LOCATION, CONTENT_LOCATION] {
        trailers.remove(name);
    }
}

/// Removes the headers of the connection, and those that its `Connection` header names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let options: Vec<HeaderName> =
            headers.get_all(CONNECTION).iter().flat_map(connection_options).collect();
        for name in options {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_options(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let options = value.as_bytes().split(|&byte| byte == b',');
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).filter(may_be_named)
}

/// `Connection` may not take out what a later hop must have: with `Connection: authorization` a caller
/// would send its request without the credential that the gateway injected.
fn may_be_named(name: &HeaderName) -> bool {
    use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
    let kept =
        [AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST];
    !kept.contains(name) && !matches!(name.as_str(), "x-api-key" | "api-key")
}

fn remove_if(headers: &mut HeaderMap, is_barred: impl Fn(&HeaderName) -> bool) {
    if !headers.keys().any(&is_barred) {
        return;
    }
    let barred: Vec<HeaderName> = headers.keys().filter(|name| is_barred(name)).cloned().collect();
    for name in barred {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_a_caller_says_about_the_way_is_not_passed_on() {
        let mut map = headers(&[
            ("connection", "x-secret-hop, Authorization"),
            ("connection", " keep-alive ,x-other"),
            ("keep-alive", "1"),
            ("x-secret-hop", "1"),
            ("x-other", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("host", "evil"),
            ("expect", "100-continue"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("x_forwarded_for", "1.2.3.4"),
            ("cookie", "session=1"),
            ("proxy-authorization", "Basic eA=="),
            ("authorization", "Bearer injected"),
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
        ]);
        clean_request(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["anthropic-version", "authorization", "content-type"]);
    }

    #[test]
    fn an_upstream_does_not_speak_for_the_gateway() {
        let mut map = headers(&[
            ("connection", "close"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1"),
            ("alt-svc", "h3=\":443\""),
            ("x-accel-redirect", "/internal"),
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("server", "uvicorn"),
        ]);
        clean_response(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "content-type", "server"]);
    }
}
