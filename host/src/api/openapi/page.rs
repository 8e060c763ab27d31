//! The page to try functions in the browser: Swagger UI, embedded, so that nothing is loaded from elsewhere.

use std::io::{Cursor, Read as _};
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use zip::CompressionMethod;

use super::super::answer::{Answer, answer_of};
use super::super::compression::Coding;
use super::{Problem, ProblemKind};

/// The served files of Swagger UI, by their names in its archive, with media types.
const ASSETS: [(&str, &str); 3] = [
    ("swagger-ui.css", "text/css; charset=utf-8"),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("favicon-32x32.png", "image/png"),
];

/// The other files, with media types.
const OWN: [(&str, &str, &str); 3] = [
    ("start.js", "text/javascript; charset=utf-8", START),
    ("chat.js", "text/javascript; charset=utf-8", super::chat::SCRIPT),
    ("chat.css", "text/css; charset=utf-8", super::chat::STYLE),
];

/// Starts Swagger UI on the document next to the page.
const START: &str = "SwaggerUIBundle({
  url: location.pathname.replace(/docs\\/*$/, 'openapi.json'),
  dom_id: '#page', deepLinking: true, persistAuthorization: false, validatorUrl: null,
});
";

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Hospes</title>
<link rel=\"icon\" href=\"{root}api/docs/favicon-32x32.png\">
<link rel=\"stylesheet\" href=\"{root}api/docs/swagger-ui.css\">
</head>
<body>
<div id=\"page\"></div>
<script src=\"{root}api/docs/swagger-ui-bundle.js\"></script>
<script src=\"{root}api/docs/start.js\"></script>
</body>
</html>
";

/// Only this host's own files; Swagger UI sets inline styles and has embedded images.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/docs` and `GET /{publisher}/{model}/docs`. The page is the same everywhere and reveals nothing about the model. Its links are
/// relative, so that they work behind a proxy that adds a path prefix.
pub(in crate::api) fn page(path: &str) -> Answer {
    written(PAGE, path, HeaderValue::from_static(POLICY))
}

/// A page at `path`, with `{root}` for the way to the host's root.
pub(super) fn written(page: &str, path: &str, policy: HeaderValue) -> Answer {
    let depth = path.bytes().filter(|byte| *byte == b'/').count();
    let page = page.replace("{root}", &"../".repeat(depth.saturating_sub(1)));
    let mut answer = answer_of(page.into(), "text/html; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

/// `GET /api/docs/{name}`: the page's files.
pub(in crate::api) fn asset(name: &str, headers: &HeaderMap) -> Result<Answer, Problem> {
    let missing = || Problem::new(ProblemKind::NotFound, "the page has no such part");
    let own = OWN.iter().find(|(known, ..)| *known == name);
    if let Some((_, media, text)) = own {
        return Ok(answer_of(Bytes::from_static(text.as_bytes()), media));
    }
    let known = ASSETS.iter().position(|(known, _)| *known == name).ok_or_else(missing)?;
    let asset = assets()[known].as_ref().ok_or_else(missing)?;
    let is_gzip = Coding::accepted(headers) == Some(Coding::Gzip);
    let bytes = if is_gzip { Some(&asset.gzip) } else { asset.plain() };
    let mut answer = answer_of(bytes.ok_or_else(missing)?.clone(), ASSETS[known].1);
    let headers = answer.headers_mut();
    if is_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let day = HeaderValue::from_static("public, max-age=86400");
    headers.insert(header::CACHE_CONTROL, day);
    Ok(answer)
}

/// A file of the embedded archive, compressed as stored; decompressed for clients that do not accept that.
struct Asset {
    gzip: Bytes,
    plain: OnceLock<Option<Bytes>>,
}

impl Asset {
    fn plain(&self) -> Option<&Bytes> {
        let inflate = || {
            let mut plain = Vec::new();
            GzDecoder::new(&*self.gzip).read_to_end(&mut plain).ok().map(|_| plain.into())
        };
        self.plain.get_or_init(inflate).as_ref()
    }
}

/// In the order of [`ASSETS`].
fn assets() -> &'static [Option<Asset>; ASSETS.len()] {
    static ALL: OnceLock<[Option<Asset>; ASSETS.len()]> = OnceLock::new();
    ALL.get_or_init(|| ASSETS.map(|(name, _)| take_out(name)))
}

/// A gzip header: deflate, no name, no time, unknown system (RFC 1952 section 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A file of the archive. Zip and gzip share the deflated data and differ in the frame.
fn take_out(name: &str) -> Option<Asset> {
    let archive = Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let mut archive = zip::ZipArchive::new(archive).ok()?;
    let path =
        archive.file_names().find(|path| path.ends_with(&format!("/dist/{name}")))?.to_owned();
    let index = archive.index_for_name(&path)?;
    let mut file = archive.by_index_raw(index).ok()?;
    if file.compression() != CompressionMethod::Deflated {
        drop(file);
        let mut encoder = GzEncoder::new(archive.by_index(index).ok()?, Compression::best());
        let mut gzip = Vec::new();
        encoder.read_to_end(&mut gzip).ok()?;
        return Some(Asset { gzip: gzip.into(), plain: OnceLock::new() });
    }
    let mut gzip = GZIP_HEAD.to_vec();
    file.read_to_end(&mut gzip).ok()?;
    gzip.extend_from_slice(&file.crc32().to_le_bytes());
    // The size modulo 2^32, as the format has it.
    gzip.extend_from_slice(&(file.size() as u32).to_le_bytes());
    Some(Asset { gzip: gzip.into(), plain: OnceLock::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_what_the_page_asks_for() {
        for (name, _) in ASSETS {
            let asset = take_out(name).expect(name);
            assert!(asset.plain().is_some_and(|bytes| bytes.len() > 500), "{name}");
            assert!(PAGE.contains(name));
        }
    }
}
