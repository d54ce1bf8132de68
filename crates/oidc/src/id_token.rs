//! The ID token: who signed in at an OP, when, how, and for which login of ours (OpenID Connect Core §2, §3.1.3.7).
//!
//! What an attacker tries: a token without a signature or with the public key as a secret, one that was made for another client
//! of the same OP, for another login, by another OP, long ago; or an access token that belongs to somebody else's ID token.

use aws_lc_rs::digest::{self, digest};
use serde_json::{Map, Value};

use crate::claims::{Claims, Expected as ExpectedClaims};
use crate::jose::{Algorithm, IssuerKeys, Verified};
use crate::json;
use crate::reason::{Reason, Rejection, quoted};

/// Longest name of a subject, in octets (§2).
pub const MAX_SUBJECT: usize = 255;
/// How old a token may be that was just fetched, in seconds.
const FRESH: i64 = 600;

/// What an ID token says.
#[derive(Debug, Clone, PartialEq)]
pub struct IdToken {
    claims: Claims,
    /// When the user signed in there, seconds since 1970.
    pub authenticated_at: Option<i64>,
    /// How: the authentication context class.
    pub context: Option<String>,
    /// The session there.
    pub session: Option<String>,
    /// When it was issued.
    pub issued_at: i64,
}

/// What an ID token is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The OP's issuer.
    pub issuer: &'a str,
    /// Our id there.
    pub client_id: &'a str,
    /// What it answers.
    pub answers: Answers<'a>,
    /// The access token that came with it.
    pub access_token: &'a str,
    /// Algorithms this OP may sign with.
    pub algorithms: &'a [Algorithm],
    /// How far clocks may differ, seconds.
    pub skew: u32,
    /// How long ago the user may have signed in there, seconds.
    pub max_age: Option<u32>,
    /// The user had to sign in anew, and not before this time.
    pub not_before: Option<i64>,
    /// How the user should have signed in, one of these; empty for any way.
    pub contexts: &'a [String],
}

/// What an ID token answers.
#[derive(Debug, Clone, Copy)]
pub enum Answers<'a> {
    /// A login with this nonce.
    Login {
        /// Which it has to repeat.
        nonce: &'a str,
    },
    /// A refresh of a login (§12.2): the token speaks of the same user, and needs no nonce.
    Refresh {
        /// The nonce of that login.
        nonce: &'a str,
        /// Who signed in then.
        subject: &'a str,
    },
}

impl Verified<IdToken> {
    /// What it says.
    pub fn token(&self) -> &IdToken {
        self.value()
    }
}

impl IdToken {
    /// The user, as the issuer calls them.
    pub fn subject(&self) -> &str {
        &self.claims.subject
    }

    /// A claim of its other ones.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.other.get(name)
    }

    /// All its other claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims.other
    }

    /// Verifies an ID token.
    ///
    /// # Errors
    /// A [`Rejection`]. [`Reason::UnknownKey`] may mean that the OP has changed its keys.
    pub fn verify(token: &str, keys: &IssuerKeys, expected: &Expected<'_>, now: i64) -> Result<Verified<Self>, Rejection> {
        let verified = keys.verify(token, &["JWT"], expected.algorithms).map_err(|why| Rejection::of_token(&why))?;
        // at_hash goes by the algorithm that signed (§3.1.3.6), which the header names and the key has confirmed.
        let algorithm = keys.keys().iter().find(|key| key.id() == verified.key()).map(crate::jwks::PublicKey::algorithm);
        let token = verified.read(|object| {
            let claims = Claims::read(object).map_err(|why| Rejection::of_token(&why))?;
            Self::of(claims)
        })?;
        token.value().check(expected, algorithm, now)?;
        Ok(token)
    }

    fn of(claims: Claims) -> Result<Self, Rejection> {
        let malformed = |name: &str| Rejection::new("claims", Reason::Malformed, format!("`{name}` is missing or malformed"));
        let other = &claims.other;
        let text = |name: &str| match other.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed(name)),
        };
        if claims.subject.len() > MAX_SUBJECT || claims.subject.chars().any(char::is_control) {
            return Err(malformed("sub"));
        }
        let authenticated_at = match other.get("auth_time") {
            None | Some(Value::Null) => None,
            Some(time) => Some(time.as_i64().ok_or_else(|| malformed("auth_time"))?),
        };
        Ok(Self {
            authenticated_at,
            context: text("acr")?,
            session: text("sid")?.filter(|session| !session.is_empty()),
            issued_at: claims.issued_at.ok_or_else(|| malformed("iat"))?,
            claims,
        })
    }

    fn check(&self, expected: &Expected<'_>, algorithm: Option<Algorithm>, now: i64) -> Result<(), Rejection> {
        let claims = ExpectedClaims { issuer: expected.issuer, audience: expected.client_id, skew: expected.skew };
        self.claims.check(&claims, now).map_err(|why| Rejection::of_token(&why))?;
        let skew = i64::from(expected.skew);
        self.check_party(expected)?;
        if now.saturating_sub(self.issued_at) > FRESH.saturating_add(skew) {
            return Err(Rejection::new("issued at", Reason::Stale, format!("issued {} s ago, and just fetched", now - self.issued_at)));
        }
        self.check_answer(&expected.answers)?;
        match self.claim("at_hash") {
            None => {}
            Some(Value::String(found)) if algorithm.is_some_and(|algorithm| *found == half_hash(algorithm, expected.access_token)) => {}
            Some(_) => return Err(Rejection::new("access token hash", Reason::WrongHash, "the access token is another one's")),
        }
        self.check_time(expected, now)?;
        let fits = expected.contexts.is_empty() || self.context.as_ref().is_some_and(|found| expected.contexts.contains(found));
        if !fits {
            let found = self.context.as_deref().map_or("none".to_owned(), quoted);
            let detail = format!("expected one of {:?}, found {found}", expected.contexts);
            return Err(Rejection::new("authentication context", Reason::WrongContext, detail));
        }
        Ok(())
    }

    fn check_answer(&self, answers: &Answers<'_>) -> Result<(), Rejection> {
        let found = self.claim("nonce");
        let repeats = |nonce: &str| found.and_then(Value::as_str) == Some(nonce);
        let fits = match answers {
            // §3.1.3.7 (11): this is what makes a caught token worthless elsewhere.
            Answers::Login { nonce } => repeats(nonce),
            Answers::Refresh { subject, .. } if self.subject() != *subject => {
                return Err(Rejection::new("subject", Reason::WrongSubject, "it is about somebody else than the login"));
            }
            // §12.2: none, or that of the login.
            Answers::Refresh { nonce, .. } => found.is_none() || repeats(nonce),
        };
        if fits { Ok(()) } else { Err(Rejection::new("nonce", Reason::WrongNonce, "it is not for this login")) }
    }

    /// §3.1.3.7 (3–5): other audiences are not trusted, unless the OP says that it was made for us.
    fn check_party(&self, expected: &Expected<'_>) -> Result<(), Rejection> {
        let refuse = |detail: &str| Err(Rejection::new("authorized party", Reason::WrongAudience, detail));
        match self.claim("azp") {
            Some(Value::String(party)) if party == expected.client_id => Ok(()),
            Some(_) => refuse("it was made for another client"),
            None if self.claims.audience.len() == 1 => Ok(()),
            None => refuse("several audiences, and not said for whom it was made"),
        }
    }

    fn check_time(&self, expected: &Expected<'_>, now: i64) -> Result<(), Rejection> {
        let refuse = |reason, detail: String| Err(Rejection::new("authentication time", reason, detail));
        let skew = i64::from(expected.skew);
        let needed = expected.max_age.is_some() || expected.not_before.is_some();
        let Some(at) = self.authenticated_at else {
            return if needed { refuse(Reason::Stale, "`auth_time` is missing".to_owned()) } else { Ok(()) };
        };
        if at > now.saturating_add(skew) {
            return refuse(Reason::NotYetValid, format!("{} s ahead", at - now));
        }
        let ago = now.saturating_sub(at);
        if expected.max_age.is_some_and(|most| ago > i64::from(most).saturating_add(skew)) {
            return refuse(Reason::Stale, format!("signed in {ago} s ago"));
        }
        if expected.not_before.is_some_and(|from| at < from.saturating_sub(skew)) {
            return refuse(Reason::Stale, format!("signed in {ago} s ago, and not anew"));
        }
        Ok(())
    }
}

/// The left half of a hash (§3.1.3.6); of EdDSA, which names none, that of Ed25519.
fn half_hash(algorithm: Algorithm, token: &str) -> String {
    let hash = match algorithm {
        Algorithm::Es256 | Algorithm::Rs256 | Algorithm::Ps256 => &digest::SHA256,
        Algorithm::Es384 => &digest::SHA384,
        Algorithm::EdDsa => &digest::SHA512,
    };
    let whole = digest(hash, token.as_bytes());
    let (left, _) = whole.as_ref().split_at(whole.as_ref().len() / 2);
    json::encode(left)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::{InjectedJwt, SigningKey};
    use crate::jwks::Jwks;

    pub(crate) const NOW: i64 = 1_800_000_000;
    pub(crate) const ISSUER: &str = "https://op.example.com";

    /// An OP: it signs whatever it is told to.
    pub(crate) struct Op(pub SigningKey<InjectedJwt>);

    impl Op {
        pub(crate) fn new(algorithm: Algorithm) -> Self {
            Self(SigningKey::generate(algorithm).unwrap())
        }

        pub(crate) fn keys(&self) -> IssuerKeys {
            IssuerKeys::new(Jwks::parse(&Jwks::write([self.0.public()])).unwrap())
        }

        pub(crate) fn sign(&self, header: Value, payload: &Value) -> String {
            let header = match header {
                Value::Null => json!({ "alg": self.0.algorithm().as_str(), "kid": self.0.id(), "typ": "JWT" }),
                header => header,
            };
            self.0.sign_raw(&header.to_string(), &payload.to_string())
        }
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": "gw", "sub": "ada", "exp": NOW + 300, "iat": NOW, "nonce": "n", "auth_time": NOW - 30,
            "acr": "gold", "sid": "s1", "email": "ada@example.com",
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    }

    const EXPECTED: Expected<'_> = Expected {
        issuer: ISSUER,
        client_id: "gw",
        answers: Answers::Login { nonce: "n" },
        access_token: "at",
        algorithms: &[Algorithm::Es256, Algorithm::Rs256],
        skew: 60,
        max_age: None,
        not_before: None,
        contexts: &[],
    };

    #[test]
    fn a_good_token_says_who_and_when_and_how() {
        let op = Op::new(Algorithm::Es256);
        for claims in [claims(), with("aud", json!(["gw"])), with("sid", Value::Null)] {
            let token = IdToken::verify(&op.sign(Value::Null, &claims), &op.keys(), &EXPECTED, NOW).unwrap();
            assert_eq!((token.token().subject(), token.token().authenticated_at), ("ada", Some(NOW - 30)));
            assert_eq!(token.token().claim("email").unwrap(), "ada@example.com");
        }
        let several = {
            let mut several = with("aud", json!(["gw", "other"]));
            several["azp"] = json!("gw");
            several
        };
        assert!(IdToken::verify(&op.sign(Value::Null, &several), &op.keys(), &EXPECTED, NOW).is_ok());
    }

    #[test]
    fn every_check_has_its_reason() {
        let op = Op::new(Algorithm::Es256);
        for (claims, check, reason) in [
            (with("iss", json!("https://evil.example")), "issuer", Reason::WrongIssuer),
            (with("iss", json!("https://op.example.com/")), "issuer", Reason::WrongIssuer),
            (with("aud", json!("other")), "audience", Reason::WrongAudience),
            (with("aud", json!(["gw", "other"])), "authorized party", Reason::WrongAudience),
            (with("azp", json!("other")), "authorized party", Reason::WrongAudience),
            (with("azp", json!(7)), "authorized party", Reason::WrongAudience),
            (with("exp", json!(NOW - 60)), "expiry", Reason::Expired),
            (with("exp", Value::Null), "claims", Reason::Malformed),
            (with("exp", json!("soon")), "claims", Reason::Malformed),
            (with("iat", json!(NOW + 61)), "not before", Reason::NotYetValid),
            (with("nbf", json!(NOW + 61)), "not before", Reason::NotYetValid),
            (with("iat", json!(NOW - 661)), "issued at", Reason::Stale),
            (with("iat", Value::Null), "claims", Reason::Malformed),
            (with("nonce", Value::Null), "nonce", Reason::WrongNonce),
            (with("nonce", json!("other")), "nonce", Reason::WrongNonce),
            (with("nonce", json!(["n"])), "nonce", Reason::WrongNonce),
            (with("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")), "access token hash", Reason::WrongHash),
            (with("at_hash", json!(7)), "access token hash", Reason::WrongHash),
            (with("sub", json!("x".repeat(256))), "claims", Reason::Malformed),
            (with("sub", json!("a\nb")), "claims", Reason::Malformed),
            (with("sub", json!("")), "claims", Reason::Malformed),
            (with("auth_time", json!("then")), "claims", Reason::Malformed),
            (with("auth_time", json!(NOW + 61)), "authentication time", Reason::NotYetValid),
            (with("acr", json!(["gold"])), "claims", Reason::Malformed),
        ] {
            let rejection = IdToken::verify(&op.sign(Value::Null, &claims), &op.keys(), &EXPECTED, NOW).unwrap_err();
            assert_eq!((rejection.check, rejection.reason), (check, reason), "{claims}");
        }
    }

    #[test]
    fn what_was_asked_of_the_sign_in_is_demanded_of_the_answer() {
        let op = Op::new(Algorithm::Es256);
        let verify = |claims: &Value, expected: &Expected<'_>| {
            IdToken::verify(&op.sign(Value::Null, claims), &op.keys(), expected, NOW).map(drop).map_err(|rejection| rejection.reason)
        };
        let aged = Expected { max_age: Some(10), skew: 10, ..EXPECTED };
        assert_eq!(verify(&claims(), &aged), Err(Reason::Stale));
        assert_eq!(verify(&with("auth_time", json!(NOW - 20)), &aged), Ok(()));
        assert_eq!(verify(&with("auth_time", Value::Null), &aged), Err(Reason::Stale));
        let anew = Expected { not_before: Some(NOW), skew: 5, ..EXPECTED };
        assert_eq!(verify(&claims(), &anew), Err(Reason::Stale));
        assert_eq!(verify(&with("auth_time", json!(NOW)), &anew), Ok(()));
        let gold = ["gold".to_owned()];
        let silver = ["silver".to_owned()];
        assert_eq!(verify(&claims(), &Expected { contexts: &gold, ..EXPECTED }), Ok(()));
        assert_eq!(verify(&claims(), &Expected { contexts: &silver, ..EXPECTED }), Err(Reason::WrongContext));
        assert_eq!(verify(&with("acr", Value::Null), &Expected { contexts: &silver, ..EXPECTED }), Err(Reason::WrongContext));
    }

    #[test]
    fn a_refresh_speaks_of_who_signed_in_and_of_no_other_login() {
        let op = Op::new(Algorithm::Es256);
        let verify = |claims: &Value, subject: &str| {
            let expected = Expected { answers: Answers::Refresh { nonce: "n", subject }, ..EXPECTED };
            IdToken::verify(&op.sign(Value::Null, claims), &op.keys(), &expected, NOW).map(drop).map_err(|rejection| rejection.reason)
        };
        assert_eq!(verify(&claims(), "ada"), Ok(()));
        assert_eq!(verify(&with("nonce", Value::Null), "ada"), Ok(()));
        assert_eq!(verify(&with("nonce", json!("of another login")), "ada"), Err(Reason::WrongNonce));
        assert_eq!(verify(&with("nonce", json!(7)), "ada"), Err(Reason::WrongNonce));
        assert_eq!(verify(&claims(), "zoe"), Err(Reason::WrongSubject));
        assert_eq!(verify(&with("iat", json!(NOW - 661)), "ada"), Err(Reason::Stale));
        assert_eq!(verify(&with("aud", json!("other")), "ada"), Err(Reason::WrongAudience));
    }

    proptest::proptest! {
        /// A signature covers every letter: whatever is changed, nothing is believed.
        #[test]
        fn no_change_of_a_signed_token_is_accepted(
            algorithm in 0usize..3,
            edits in proptest::collection::vec((0u8..4, proptest::prelude::any::<proptest::sample::Index>(), 0usize..66), 1..4),
        ) {
            const LETTERS: &[u8; 66] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
            let algorithm = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa][algorithm];
            let op = Op::new(algorithm);
            let expected = Expected { algorithms: &[algorithm], ..EXPECTED };
            let token = op.sign(Value::Null, &claims());
            proptest::prop_assert!(IdToken::verify(&token, &op.keys(), &expected, NOW).is_ok());
            let mut changed = token.clone().into_bytes();
            for (kind, at, letter) in edits {
                let (at, letter) = (at.index(changed.len().max(1)), LETTERS[letter]);
                match kind {
                    _ if changed.is_empty() => {}
                    0 => changed[at] = letter,
                    1 => changed.insert(at, letter),
                    2 => drop(changed.remove(at)),
                    _ => changed.truncate(at.max(1)),
                }
            }
            let changed = String::from_utf8(changed).unwrap();
            proptest::prop_assert_eq!(IdToken::verify(&changed, &op.keys(), &expected, NOW).is_ok(), changed == token);
        }

        /// Parts of two good tokens make no third one.
        #[test]
        fn no_parts_of_two_signed_tokens_make_another(choice in 1usize..7) {
            let (op, other) = (Op::new(Algorithm::Es256), Op::new(Algorithm::Es256));
            let one = op.sign(Value::Null, &claims());
            for two in [op.sign(Value::Null, &with("sub", json!("zoe"))), other.sign(Value::Null, &claims())] {
                let parts: Vec<(&str, &str)> = one.split('.').zip(two.split('.')).collect();
                let mixed: Vec<&str> = parts.iter().enumerate().map(|(at, (one, two))| if choice >> at & 1 == 0 { *one } else { *two }).collect();
                let mixed = mixed.join(".");
                // The header says the same in both tokens of one key.
                let whole = mixed == one || mixed == two;
                let believed = IdToken::verify(&mixed, &op.keys(), &EXPECTED, NOW).is_ok();
                proptest::prop_assert!(whole || !believed);
            }
        }
    }

    #[test]
    fn the_hash_of_the_access_token_goes_by_the_algorithm() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let op = Op::new(algorithm);
            let claims = with("at_hash", json!(half_hash(algorithm, "at")));
            let expected = Expected { algorithms: &[algorithm], ..EXPECTED };
            let token = op.sign(Value::Null, &claims);
            assert!(IdToken::verify(&token, &op.keys(), &expected, NOW).is_ok());
            let other = Expected { access_token: "other", ..expected };
            assert_eq!(IdToken::verify(&token, &op.keys(), &other, NOW).unwrap_err().reason, Reason::WrongHash);
        }
        // OpenID Connect Core §A.3.
        assert_eq!(half_hash(Algorithm::Rs256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn the_header_chooses_nothing() {
        let (op, other) = (Op::new(Algorithm::Es256), Op::new(Algorithm::Es256));
        let kid = op.0.id();
        let refused = |header: Value| IdToken::verify(&op.sign(header, &claims()), &op.keys(), &EXPECTED, NOW).unwrap_err().reason;
        for alg in ["none", "None", "HS256", "RS256", "ES384", ""] {
            assert_eq!(refused(json!({ "alg": alg, "kid": kid })), Reason::AlgorithmRefused, "{alg}");
        }
        for typ in ["at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", ""] {
            assert_eq!(refused(json!({ "alg": "ES256", "kid": kid, "typ": typ })), Reason::WrongType, "{typ}");
        }
        for (name, value) in
            [("jwk", other.0.public().to_jwk()), ("jku", json!("https://evil.example/k")), ("crit", json!(["x"])), ("x5u", json!("u"))]
        {
            assert_eq!(refused(json!({ "alg": "ES256", "kid": kid, name: value })), Reason::Malformed, "{name}");
        }
        assert_eq!(refused(json!({ "alg": "ES256", "kid": other.0.id() })), Reason::UnknownKey);
        assert_eq!(refused(json!({ "alg": "ES256", "kid": "../../etc/passwd" })), Reason::UnknownKey);
        // Two key ids in one header.
        let twice = op.0.sign_raw(&format!(r#"{{"alg":"ES256","kid":"{kid}","kid":"x"}}"#), &claims().to_string());
        assert_eq!(IdToken::verify(&twice, &op.keys(), &EXPECTED, NOW).unwrap_err().reason, Reason::Malformed);
        // Another's signature under our key's name.
        let forged = other.0.sign_raw(&json!({ "alg": "ES256", "kid": kid }).to_string(), &claims().to_string());
        assert_eq!(IdToken::verify(&forged, &op.keys(), &EXPECTED, NOW).unwrap_err().reason, Reason::SignatureInvalid);
        // RFC 7515 §4.1.9: a kind may be written as a media type; and it need not be written.
        for header in [
            json!({ "alg": "ES256", "kid": kid, "typ": "application/jwt" }),
            json!({ "alg": "ES256", "kid": kid }),
            json!({ "alg": "ES256" }),
        ] {
            assert!(IdToken::verify(&op.sign(header, &claims()), &op.keys(), &EXPECTED, NOW).is_ok());
        }
        // An algorithm of ours that this OP is not expected to use.
        let narrow = Expected { algorithms: &[Algorithm::Rs256], ..EXPECTED };
        assert_eq!(
            IdToken::verify(&op.sign(Value::Null, &claims()), &op.keys(), &narrow, NOW).unwrap_err().reason,
            Reason::AlgorithmRefused
        );
    }

    #[test]
    fn a_public_key_is_no_shared_secret() {
        let op = Op::new(Algorithm::Es256);
        let input =
            format!("{}.{}", json::encode(json!({ "alg": "HS256", "kid": op.0.id() }).to_string()), json::encode(claims().to_string()));
        for secret in [op.0.public().to_jwk().to_string(), op.0.id().to_owned()] {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
            let token = format!("{input}.{}", json::encode(aws_lc_rs::hmac::sign(&key, input.as_bytes())));
            assert_eq!(IdToken::verify(&token, &op.keys(), &EXPECTED, NOW).unwrap_err().reason, Reason::AlgorithmRefused);
        }
    }
}
