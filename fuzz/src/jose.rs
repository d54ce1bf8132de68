//! What must hold for any octets that a browser or an OpenID provider brings as a token, a key set, metadata or an answer. Run by
//! libFuzzer in `fuzz/`, and over the corpus by `cargo test`.

use std::sync::OnceLock;

use vestibule_oidc::discovery::{self, Metadata};
use vestibule_oidc::id_token::{self, Answers, IdToken};
use vestibule_oidc::introspection;
use vestibule_oidc::jose::{Algorithm, ClientAssertion, InjectedJwt, IssuerKeys, Purpose, SsoToken, TrustedKeys};
use vestibule_oidc::jwks::{Jwks, MAX_KEYS};
use vestibule_oidc::logout::{self, LogoutToken};
use vestibule_oidc::reason::{Reason, Rejection};
use vestibule_oidc::rp::{Answer, Refreshed, Tokens};
use vestibule_oidc::userinfo::{self, UserInfo};

const ISSUER: &str = "https://op.example.com";
const CLIENT: &str = "vestibule";
const ALGORITHMS: [Algorithm; 5] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256];
/// When the good tokens of the corpus hold.
const NOW: i64 = 1_800_000_000;

/// All that a published key of the corpus has signed: what is not among this, nobody signed.
pub const SIGNED: &[(&str, &str)] = &[
    ("access-token", include_str!("../../corpus/attacks/jose/access-token.jwt")),
    ("another-access-token", include_str!("../../corpus/attacks/jose/another-access-token.jwt")),
    ("another-client", include_str!("../../corpus/attacks/jose/another-client.jwt")),
    ("another-issuer", include_str!("../../corpus/attacks/jose/another-issuer.jwt")),
    ("another-nonce", include_str!("../../corpus/attacks/jose/another-nonce.jwt")),
    ("another-party", include_str!("../../corpus/attacks/jose/another-party.jwt")),
    ("certificate-in-the-header", include_str!("../../corpus/attacks/jose/certificate-in-the-header.jwt")),
    ("critical-extension", include_str!("../../corpus/attacks/jose/critical-extension.jwt")),
    ("five-parts", include_str!("../../corpus/attacks/jose/five-parts.jwt")),
    ("for-ever", include_str!("../../corpus/attacks/jose/for-ever.jwt")),
    ("good-es256", include_str!("../../corpus/attacks/jose/good-es256.jwt")),
    ("good-logout", include_str!("../../corpus/attacks/jose/good-logout.jwt")),
    ("good-rs256", include_str!("../../corpus/attacks/jose/good-rs256.jwt")),
    ("good-untyped", include_str!("../../corpus/attacks/jose/good-untyped.jwt")),
    ("id-token-as-logout-token", include_str!("../../corpus/attacks/jose/id-token-as-logout-token.jwt")),
    ("issuer-with-a-slash", include_str!("../../corpus/attacks/jose/issuer-with-a-slash.jwt")),
    ("key-behind-jku", include_str!("../../corpus/attacks/jose/key-behind-jku.jwt")),
    ("key-of-another-kind", include_str!("../../corpus/attacks/jose/key-of-another-kind.jwt")),
    ("logout-of-an-hour-ago", include_str!("../../corpus/attacks/jose/logout-of-an-hour-ago.jwt")),
    ("logout-of-another-client", include_str!("../../corpus/attacks/jose/logout-of-another-client.jwt")),
    ("logout-of-nobody", include_str!("../../corpus/attacks/jose/logout-of-nobody.jwt")),
    ("logout-token-as-id-token", include_str!("../../corpus/attacks/jose/logout-token-as-id-token.jwt")),
    ("logout-without-event", include_str!("../../corpus/attacks/jose/logout-without-event.jwt")),
    ("no-key-id-among-two", include_str!("../../corpus/attacks/jose/no-key-id-among-two.jwt")),
    ("no-nonce", include_str!("../../corpus/attacks/jose/no-nonce.jwt")),
    ("none-over-a-good-signature", include_str!("../../corpus/attacks/jose/none-over-a-good-signature.jwt")),
    ("of-long-ago", include_str!("../../corpus/attacks/jose/of-long-ago.jwt")),
    ("of-the-future", include_str!("../../corpus/attacks/jose/of-the-future.jwt")),
    ("over", include_str!("../../corpus/attacks/jose/over.jwt")),
    ("padded", include_str!("../../corpus/attacks/jose/padded.jwt")),
    ("path-as-key-id", include_str!("../../corpus/attacks/jose/path-as-key-id.jwt")),
    ("query-as-key-id", include_str!("../../corpus/attacks/jose/query-as-key-id.jwt")),
    ("subject-twice", include_str!("../../corpus/attacks/jose/subject-twice.jwt")),
    ("two-algorithms", include_str!("../../corpus/attacks/jose/two-algorithms.jwt")),
    ("two-clients", include_str!("../../corpus/attacks/jose/two-clients.jwt")),
    ("two-key-ids", include_str!("../../corpus/attacks/jose/two-key-ids.jwt")),
];

/// Takes octets for everything that they could be.
pub fn consume(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    token(text);
    token(text.trim_end());
    key_set(text);
    if let Ok(metadata) = Metadata::parse(octets, ISSUER) {
        assert_eq!(metadata.issuer, ISSUER);
        let optional =
            [&metadata.userinfo_endpoint, &metadata.end_session_endpoint, &metadata.introspection_endpoint, &metadata.revocation_endpoint];
        let needed = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        for endpoint in needed.into_iter().chain(optional.into_iter().flatten()) {
            assert!(endpoint.scheme() == "https" || discovery::is_this_machine(endpoint), "{endpoint}");
        }
    }
    for success in [true, false] {
        drop(Tokens::parse(success, "application/json", octets));
        if let Ok(Ok(_)) = Refreshed::parse(success, "application/json;charset=utf-8", octets) {
            assert!(success, "a failure gives no tokens");
        }
    }
    let expected = introspection::Expected { issuer: Some(ISSUER), audiences: &[], scopes: &[], skew: 60 };
    if let Ok(Some(active)) = introspection::read("application/json", octets, &expected, NOW) {
        assert!(active.expires.is_none_or(|end| end > NOW));
    }
    let expected = userinfo::Expected { issuer: ISSUER, client_id: CLIENT, subject: "248289761001", algorithms: &ALGORITHMS };
    if let Ok(found) = UserInfo::read("application/json", octets, keys(), &expected) {
        assert_eq!(found.claim("sub").and_then(|sub| sub.as_str()), Some("248289761001"));
    }
    assert!(UserInfo::read("application/jwt", octets, keys(), &expected).is_err() || is_signed(text));
    let pairs: Vec<(&str, &str)> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
    if let Ok(answer) = Answer::read(pairs.iter().copied()) {
        assert_eq!(pairs.iter().filter(|(name, _)| *name == "state").count(), 1);
        assert!(!answer.state.is_empty());
    }
}

/// Whoever is believed has a signature, and so has what is refused for what it says.
fn token(text: &str) {
    for (nonce, access_token) in [("n-0S6_WzA2Mj", "an access token"), ("", "")] {
        let expected = id_token::Expected {
            issuer: ISSUER,
            client_id: CLIENT,
            answers: Answers::Login { nonce },
            access_token,
            algorithms: &ALGORITHMS,
            skew: 60,
            max_age: None,
            not_before: None,
            contexts: &[],
        };
        let verified = IdToken::verify(text, keys(), &expected, NOW);
        if let Ok(token) = &verified {
            assert!(!token.token().subject().is_empty());
        }
        assert!(!was_read(&verified) || is_signed(text), "nobody signed this");
    }
    let expected = logout::Expected { issuer: ISSUER, client_id: CLIENT, algorithms: &ALGORITHMS, skew: 60 };
    assert!(!was_read(&LogoutToken::verify(text, keys(), &expected, NOW)) || is_signed(text), "nobody signed this");
    // Keys of others sign nothing of ours.
    ours::<InjectedJwt>(text);
    ours::<SsoToken>(text);
    ours::<ClientAssertion>(text);
}

fn ours<P: Purpose>(text: &str) {
    let trusted = TrustedKeys::<P>::new(keys().keys().to_vec()).expect("the keys of the corpus");
    let expected = vestibule_oidc::claims::Expected { issuer: ISSUER, audience: CLIENT, skew: 60 };
    assert!(trusted.verify(text, &expected, NOW).is_err() || is_signed(text));
}

fn key_set(text: &str) {
    let Ok(set) = Jwks::parse(text) else { return };
    assert!(set.keys.len() <= MAX_KEYS);
    let again = Jwks::parse(&Jwks::write(&set.keys)).expect("was written by us");
    assert!(again.keys == set.keys && again.refused.is_empty(), "a key is another one when it is published");
}

/// Whether what a token says was looked at, which is so only once its signature was found to be good.
fn was_read<T>(verified: &Result<T, Rejection>) -> bool {
    match verified {
        Ok(_) => true,
        Err(rejection) => match rejection.reason {
            Reason::WrongIssuer
            | Reason::WrongAudience
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::Stale
            | Reason::WrongNonce
            | Reason::WrongHash
            | Reason::WrongSubject
            | Reason::WrongContext
            | Reason::WrongEvent => true,
            // Also said of what stands outside of the signature, or of the signature itself.
            Reason::Limits
            | Reason::Malformed
            | Reason::Ambiguous
            | Reason::WrongState
            | Reason::ProviderError
            | Reason::WrongType
            | Reason::AlgorithmRefused
            | Reason::UnknownKey
            | Reason::SignatureInvalid
            | Reason::MissingScope => false,
        },
    }
}

/// Whether the corpus has this header and payload under a good signature. The signature itself has several spellings (ECDSA).
fn is_signed(text: &str) -> bool {
    let content = |text: &str| text.trim_end().rsplit_once('.').map(|(content, _)| content.to_owned());
    content(text).is_some_and(|found| SIGNED.iter().any(|(_, token)| content(token).as_deref() == Some(&found)))
}

fn keys() -> &'static IssuerKeys {
    static KEYS: OnceLock<IssuerKeys> = OnceLock::new();
    KEYS.get_or_init(|| IssuerKeys::new(Jwks::parse(include_str!("../../corpus/attacks/jose/keys.json")).expect("a key set")))
}
