//! An action's target, as people write it.

use std::fmt;

use semver::Version;

use super::OperationError;
use crate::id::{AccountName, Digest, KeyId, ModelName};
use crate::receipt::Deed;

/// The name of the operator's token as a target.
const TOKEN: &str = "operator.token";

/// The name of all agreements as a target.
const AGREEMENTS: &str = "all";

/// An action's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Account(AccountName),
    Key(KeyId),
    Version(ModelName, Version),
    Model(ModelName),
    /// The digest of a bundle, a component or a model's weights.
    Digest(Digest),
    Offer(Digest),
    Agreement(Digest),
    /// Every agreement with limits over all calls.
    Agreements,
    /// The operator's token.
    Token,
}

impl Target {
    /// Parses a target.
    ///
    /// # Errors
    /// [`OperationError::Target`].
    pub fn parse(deed: Deed, text: &str) -> Result<Self, OperationError> {
        let (target, wanted) = match deed {
            Deed::SuspendAccount | Deed::ResumeAccount | Deed::CloseAccount | Deed::OpenAccount => {
                (text.parse().ok().map(Target::Account), "an account's name")
            }
            Deed::RevokeKey | Deed::MakeKey => {
                (text.parse().ok().map(Target::Key), "a key's identifier, 16 digits")
            }
            Deed::WithdrawVersion
            | Deed::ReinstateVersion
            | Deed::RetryVersion
            | Deed::TakeOutVersion => {
                let version = text.split_once('@').and_then(|(model, version)| {
                    Some(Target::Version(model.parse().ok()?, version.parse().ok()?))
                });
                (version, "a version, such as `acme/iris@1.0.0`")
            }
            Deed::WithdrawModel | Deed::ReinstateModel | Deed::UnloadModel | Deed::LoadModel => {
                (text.parse().ok().map(Target::Model), "a model, such as `acme/iris`")
            }
            Deed::WithdrawDigest | Deed::ReinstateDigest => {
                (text.parse().ok().map(Target::Digest), "a digest, such as `sha256:…`")
            }
            Deed::WithdrawOffer | Deed::ReinstateOffer => {
                (text.parse().ok().map(Target::Offer), "an offer's identifier, such as `sha256:…`")
            }
            Deed::StopAgreement | Deed::FreezeAgreement | Deed::ReleaseAgreement => (
                text.parse().ok().map(Target::Agreement),
                "an agreement's identifier, such as `sha256:…`",
            ),
            Deed::FreezeAgreements | Deed::ReleaseAgreements => {
                ((text == AGREEMENTS).then_some(Target::Agreements), "`all`")
            }
            Deed::Restore => (None, "nothing: use `hospes restore`"),
            Deed::RemoveRecord => (None, "nothing: use `hospes admin out-of-service remove`"),
            Deed::RotateToken => ((text == TOKEN).then_some(Target::Token), "`operator.token`"),
        };
        target.ok_or_else(|| OperationError::Target {
            deed,
            target: text.chars().filter(|c| !c.is_control()).take(120).collect(),
            wanted,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Account(name) => name.fmt(f),
            Target::Key(id) => id.fmt(f),
            Target::Version(model, version) => write!(f, "{model}@{version}"),
            Target::Model(model) => model.fmt(f),
            Target::Digest(digest) | Target::Offer(digest) | Target::Agreement(digest) => {
                digest.fmt(f)
            }
            Target::Agreements => f.write_str(AGREEMENTS),
            Target::Token => f.write_str(TOKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_deed_is_done_to_is_read_as_it_is_written() {
        let digest = Digest::of(b"x").to_string();
        let cases = [
            (Deed::SuspendAccount, "acme"),
            (Deed::RevokeKey, "0123456789abcdef"),
            (Deed::WithdrawVersion, "acme/iris@1.0.0-rc.1"),
            (Deed::WithdrawModel, "acme/iris"),
            (Deed::WithdrawDigest, digest.as_str()),
            (Deed::WithdrawOffer, digest.as_str()),
            (Deed::StopAgreement, digest.as_str()),
            (Deed::FreezeAgreement, digest.as_str()),
            (Deed::FreezeAgreements, AGREEMENTS),
            (Deed::RotateToken, TOKEN),
        ];
        for (deed, text) in cases {
            assert_eq!(Target::parse(deed, text).expect("read").to_string(), text);
            for wrong in ["", "../x", "acme/iris@", "acme/iris@1", "a\nb", "sha256:00"] {
                assert!(Target::parse(deed, wrong).is_err(), "{deed} {wrong}");
            }
        }
    }
}
