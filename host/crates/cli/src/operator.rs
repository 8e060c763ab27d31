//! How the operator's commands reach the host: its second listener, and the operator's token.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Context;
use super::client::{Client, HostUrl};
use super::failure::Failure;
use hospes_config::{OPERATOR_ADDRESS_FILE, OPERATOR_TOKEN_FILE};
use hospes_wire::status::{Host, Status};

/// Longest operator's token, or address of its listener, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// The default port of the operator's listener.
const PORT: u16 = 8081;

/// The operator's listener and token.
#[derive(Debug, Args)]
#[command(next_help_heading = "The operator's listener")]
pub struct Operator {
    /// The operator's listener [default: from the data directory, else port 8081 of `--host`].
    #[arg(long, env = "HOSPES_OPERATOR", hide_env_values = true, value_name = "URL")]
    operator: Option<HostUrl>,
    #[command(flatten)]
    token: Token,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Token {
    /// A file with the operator's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The host's data directory, which holds the operator's token.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Operator {
    /// A client for the operator's listener.
    ///
    /// # Errors
    /// If no token can be read.
    pub fn client(&self, context: &Context) -> Result<Client, Failure> {
        let token = self.token.read()?;
        Ok(Client::operator(self.url(context)?, token))
    }

    /// The same, and checks that it belongs to the host that `--host` names.
    ///
    /// # Errors
    /// If the two listeners belong to different hosts.
    pub fn client_of_host(&self, context: &Context) -> Result<Client, Failure> {
        let client = self.client(context)?;
        // If the host's other listener cannot be reached from here, this check is skipped.
        if let Ok((_, public)) = context.visitor().document::<Host>("/api/host") {
            let (_, own): (Value, Status) = client.document("/status")?;
            if own.party != public.party {
                let (host, operator) = (&context.host, self.url(context)?);
                return Err(Failure::new(format!(
                    "the operator's listener at {operator} belongs to a different host from {host}"
                ))
                .fix("name both listeners of one host: `--host URL` and `--operator URL`"));
            }
        }
        Ok(client)
    }

    /// The host's data directory, if it was named.
    pub fn data(&self) -> Option<&Path> {
        self.token.data.as_deref()
    }

    fn url(&self, context: &Context) -> Result<HostUrl, Failure> {
        if let Some(url) = &self.operator {
            return Ok(url.clone());
        }
        let kept = self.token.data.as_ref().map(|data| data.join(OPERATOR_ADDRESS_FILE));
        let kept = kept.and_then(|path| read_line(&path).ok());
        match kept.and_then(|url| url.parse().ok()) {
            Some(url) => Ok(url),
            None => beside(&context.host),
        }
    }
}

/// The default address of a host's operator's listener.
fn beside(host: &HostUrl) -> Result<HostUrl, Failure> {
    let authority: Option<http::uri::Authority> = host.authority().parse().ok();
    let beside = authority.map(|authority| format!("{}:{PORT}", authority.host()));
    beside.and_then(|authority| HostUrl::new(false, &authority, "")).ok_or_else(|| {
        Failure::new("the operator's listener is unknown").fix("name it with `--operator URL`")
    })
}

impl Token {
    fn read(&self) -> Result<String, Failure> {
        match (&self.token_file, &self.data) {
            (Some(file), _) => read_token(file),
            (None, Some(data)) => read_token(&data.join(OPERATOR_TOKEN_FILE)),
            (None, None) => Err(Failure::new("no operator's token was given")
                .fix("name the host's data directory with `--data DIR`, or the token with `--token-file FILE`")),
        }
    }
}

/// The only line of a short file.
///
/// # Errors
/// If it cannot be read.
pub fn read_line(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// The operator's token in a file.
///
/// # Errors
/// If there is none.
pub fn read_token(path: &Path) -> Result<String, Failure> {
    let token = read_line(path).map_err(|error| {
        Failure::file("read the operator's token from", path, &error)
            .fix("name the data directory that `hospes serve` uses; the host writes the token there when it starts")
    })?;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!(
            "`{}` does not hold an operator's token",
            path.display()
        )));
    }
    Ok(token)
}
