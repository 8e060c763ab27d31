//! The page to try functions in the browser: Swagger UI, embedded, so that nothing is fetched from elsewhere.

use std::io::{Cursor, Read as _};

use bytes::Bytes;
use http::{HeaderValue, header};

use super::super::answer::{Answer, answer_of};
use super::{Problem, ProblemKind};

/// What of Swagger UI is served, by the names in its archive, and as what.
const ASSETS: [(&str, &str); 3] = [
    ("swagger-ui.css", "text/css; charset=utf-8"),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("favicon-32x32.png", "image/png"),
];

/// Starts Swagger UI on the document beside the page.
const START: &str = "SwaggerUIBundle({
  url: location.pathname.replace(/docs$/, 'openapi.json'),
  dom_id: '#page', deepLinking: true, persistAuthorization: false, validatorUrl: null,
});
";

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Hospes</title>
<link rel=\"icon\" href=\"/api/docs/favicon-32x32.png\">
<link rel=\"stylesheet\" href=\"/api/docs/swagger-ui.css\">
</head>
<body>
<div id=\"page\"></div>
<script src=\"/api/docs/swagger-ui-bundle.js\"></script>
<script src=\"/api/docs/start.js\"></script>
</body>
</html>
";

/// Nothing but this host's own files; Swagger UI sets styles of its own and shows pictures that it carries.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/docs` and `GET /{publisher}/{model}/docs`. The page is the same everywhere and tells nothing of the model.
pub(in crate::api) fn page() -> Answer {
    let mut answer = answer_of(Bytes::from_static(PAGE.as_bytes()), "text/html; charset=utf-8");
    let policy = HeaderValue::from_static(POLICY);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

/// `GET /api/docs/{name}`: what the page consists of.
pub(in crate::api) fn asset(name: &str) -> Result<Answer, Problem> {
    let missing = || Problem::new(ProblemKind::NotFound, "the page has no such part");
    if name == "start.js" {
        let start = Bytes::from_static(START.as_bytes());
        return Ok(answer_of(start, "text/javascript; charset=utf-8"));
    }
    let (name, media) = ASSETS.into_iter().find(|(known, _)| *known == name).ok_or_else(missing)?;
    let mut answer = answer_of(unpack(name).ok_or_else(missing)?, media);
    let day = HeaderValue::from_static("public, max-age=86400");
    answer.headers_mut().insert(header::CACHE_CONTROL, day);
    Ok(answer)
}

/// One file of the embedded archive.
fn unpack(name: &str) -> Option<Bytes> {
    let archive = Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let mut archive = zip::ZipArchive::new(archive).ok()?;
    let path =
        archive.file_names().find(|path| path.ends_with(&format!("/dist/{name}")))?.to_owned();
    let mut bytes = Vec::new();
    archive.by_name(&path).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_what_the_page_asks_for() {
        for (name, _) in ASSETS {
            assert!(unpack(name).is_some_and(|bytes| bytes.len() > 500), "{name}");
            assert!(PAGE.contains(name));
        }
    }
}
