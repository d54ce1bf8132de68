//! The rules of one scheme, and the one place where a message is held against them: the live doors and `wss inspect` both
//! come through here.

use std::net::IpAddr;
use std::sync::Arc;

use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Reason, SecurityFault};
use vestibule_engine::request::{CheckRequest, Shown};
use vestibule_soap::Target;
use vestibule_wss::{
    Accepted, CertificateStore, Channel, Concessions, Demand, Message, Part, Rejection, Rules, TokenKind, TrustedIssuer, Window,
};
use vestibule_xmlsec::{DecryptionKeys, Messages};

use crate::schemes::family::PlainHttp;

/// What a message is held against.
#[derive(Debug)]
pub struct Verifier {
    /// Whose header is read.
    pub role: Target,
    /// The tokens; all of them have to hold.
    pub tokens: Vec<TokenKind>,
    /// Parts that have to be signed, beside those a token always needs.
    pub parts: Vec<Part>,
    /// How old messages may be.
    pub window: Window,
    /// What of the weaker is admitted.
    pub concessions: Concessions,
    /// Whose signatures count.
    pub certificates: CertificateStore,
    /// Whose assertions count.
    pub issuers: Vec<TrustedIssuer>,
    /// Who we are in an assertion's audiences.
    pub audience: String,
    /// Our addresses, for assertions that name one.
    pub recipients: Vec<String>,
    /// Keys that decrypt what is encrypted to us.
    pub decryption: Option<DecryptionKeys<Messages>>,
}

/// How a message came, as it outlives the request.
#[derive(Debug, Clone)]
pub struct Way {
    /// From where.
    pub client: Option<IpAddr>,
    /// Whether nobody on the way could read it.
    pub protected: bool,
    /// The certificate that the client showed in TLS.
    pub certificate: Option<Arc<[u8]>>,
}

impl Way {
    /// How this request came.
    pub fn of(request: &CheckRequest, plain: PlainHttp) -> Self {
        let certificate = match &request.client.certificate {
            Shown::Certificate(certificate) => Some(certificate.der.clone()),
            Shown::Nothing | Shown::Refused(_) => None,
        };
        Self { client: Some(request.client.address.to_canonical()), protected: plain.admits(request), certificate }
    }

    fn channel(&self) -> Channel<'_> {
        if self.protected {
            Channel::Protected { client: self.client, certificate: self.certificate.as_deref() }
        } else {
            Channel::Plain { client: self.client }
        }
    }
}

impl Verifier {
    /// Holds a message against the rules.
    ///
    /// # Errors
    /// [`Rejection`], with every check that was made.
    pub fn verify(&self, message: &Message, way: &Way, now: Timestamp) -> Result<Accepted, Rejection> {
        let recipients: Vec<&str> = self.recipients.iter().map(String::as_str).collect();
        let rules = Rules {
            role: &self.role,
            demand: Demand { tokens: &self.tokens, parts: &self.parts },
            window: self.window,
            concessions: self.concessions,
            channel: way.channel(),
            certificates: &self.certificates,
            issuers: &self.issuers,
            audience: &self.audience,
            recipients: &recipients,
            decryption: self.decryption.as_ref(),
        };
        message.verify(&rules, now)
    }

    /// Whether some other block for the role has to be understood: the service behind plays another role and never answers
    /// for it. Where we read the header of the last receiver, the service is that one.
    pub fn understands(&self, message: &Message) -> bool {
        match &self.role {
            Target::Role(_) | Target::Next => {
                let is_ours = |block: &vestibule_soap::HeaderBlock| vestibule_wss::is_security(block);
                message.envelope().not_understood(std::slice::from_ref(&self.role), is_ours).is_none()
            }
            Target::Ultimate | Target::Nobody => true,
        }
    }
}

/// The audit's word for a reason.
pub fn reason(reason: vestibule_wss::Reason) -> Reason {
    use vestibule_wss::Reason as Of;
    Reason::Security(match reason {
        Of::UnknownUser => return Reason::UnknownUser,
        Of::WrongPassword => return Reason::WrongPassword,
        Of::Replayed => return Reason::Replayed,
        Of::Encoding => SecurityFault::Encoding,
        Of::Dtd => SecurityFault::Dtd,
        Of::Malformed => SecurityFault::Malformed,
        Of::ForbiddenMarkup => SecurityFault::ForbiddenMarkup,
        Of::Limits => SecurityFault::Limits,
        Of::WrongVersion => SecurityFault::WrongVersion,
        Of::Ambiguous => SecurityFault::Ambiguous,
        Of::DuplicateId => SecurityFault::DuplicateId,
        Of::NotEnabled => SecurityFault::NotEnabled,
        Of::NoCredentials => SecurityFault::NoCredentials,
        Of::AlgorithmRefused => SecurityFault::AlgorithmRefused,
        Of::DecryptionFailed => SecurityFault::DecryptionFailed,
        Of::ReferenceRefused => SecurityFault::ReferenceRefused,
        Of::SignatureMissing => SecurityFault::SignatureMissing,
        Of::SignatureInvalid => SecurityFault::SignatureInvalid,
        Of::DigestMismatch => SecurityFault::DigestMismatch,
        Of::UnknownKey => SecurityFault::UnknownKey,
        Of::CertificateExpired => SecurityFault::CertificateExpired,
        Of::Wrapped => SecurityFault::Wrapped,
        Of::PartNotSigned => SecurityFault::PartNotSigned,
        Of::WrongIssuer => SecurityFault::WrongIssuer,
        Of::WrongRecipient => SecurityFault::WrongRecipient,
        Of::WrongAudience => SecurityFault::WrongAudience,
        Of::Expired => SecurityFault::Expired,
        Of::NotYetValid => SecurityFault::NotYetValid,
        Of::Stale => SecurityFault::Stale,
    })
}

/// The reason behind the audit's word; `None` for what is no message's.
pub fn reason_of(reason: Reason) -> Option<vestibule_wss::Reason> {
    match reason {
        Reason::Replayed => Some(vestibule_wss::Reason::Replayed),
        Reason::Security(fault) => vestibule_wss::Reason::ALL.iter().copied().find(|known| known.word() == fault.word()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_on_both_sides() {
        for known in vestibule_wss::Reason::ALL {
            match reason(*known) {
                Reason::Security(fault) => {
                    assert_eq!(fault.word(), known.word());
                    assert_eq!(reason_of(Reason::Security(fault)), Some(*known));
                }
                other => assert!(matches!(other, Reason::UnknownUser | Reason::WrongPassword | Reason::Replayed), "{other:?}"),
            }
        }
        let unknown: Vec<_> = SecurityFault::ALL.iter().filter(|fault| reason_of(Reason::Security(**fault)).is_none()).collect();
        assert_eq!(unknown, [&SecurityFault::NotUnderstood], "only the door says this");
    }
}
