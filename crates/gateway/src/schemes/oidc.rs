//! The scheme `oidc`: an OpenID provider vouches for the user (OpenID Connect Core §3.1, the authorization code flow).
//!
//! What an attacker tries with somebody else's code, with another provider's answer or with a forged token is refused by the crate
//! `oidc`, which sees the messages; whom a provider may name is decided here and by `Admission`. The portal carries messages to and
//! fro (`serve::pages::oidc_rp`).

mod account;
mod op_session;
mod provider;
mod refresh;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{OidcFault, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{SchemeName, TenantId};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Departure, Leads, LoginFlow, Outcome, Place, Scheme, Start, Unavailable};
use vestibule_engine::users::Users;
use vestibule_oidc::id_token::{self, IdToken};
use vestibule_oidc::jose::Verified;
use vestibule_oidc::jwks::{Jwks, PublicKey};
use vestibule_oidc::logout::{self, LogoutToken};
use vestibule_oidc::reason::{Reason, Rejection};
use vestibule_oidc::rp::{self, Answer, Login, Tokens};
use vestibule_oidc::userinfo::UserInfo;
use zeroize::Zeroizing;

pub use op_session::{OpSession, OpSessions};
pub use provider::{OpenidProvider, client, form, issuer_of, media_type, origin};
pub use refresh::{Refresher, Standing};

use crate::config::checked::Oidc;

/// Begins the paths of the portal that are the relying party's.
pub const PREFIX: &str = "/oidc/rp/";
/// Where our public keys are, for providers to which we prove ourselves by one.
pub const JWKS: &str = "/oidc/rp/jwks";
/// Begins the addresses to which providers send answers, each to its own: an answer that was meant for another is told by where it
/// arrives (RFC 9700 §4.4.2.2).
const CALLBACK: &str = "/oidc/rp/callback/";
/// Begins the addresses at which providers say that a session is over, each at its own.
const LOGOUT: &str = "/oidc/rp/logout/";

/// Longest hint of who it is, in characters.
const MAX_HINT: usize = 256;

/// What the relying party keeps of a session there with a session here: its name in the store.
pub const SESSION: &str = "urn:vestibule:op-session";

/// A tenant as a relying party.
#[derive(Debug)]
pub struct RelyingParty {
    name: SchemeName,
    origin: String,
    providers: Vec<Arc<OpenidProvider>>,
    users: Arc<Users>,
    sessions: OpSessions,
}

/// The scheme, as it stands in a chain.
#[derive(Debug)]
pub struct OidcScheme(Arc<RelyingParty>);

/// A user an OpenID provider vouches for, whom nobody has looked for yet.
pub struct Vouched {
    /// What the ID token says.
    pub id_token: Verified<IdToken>,
    /// What else is said.
    pub userinfo: Option<UserInfo>,
    /// The ID token itself: it is shown again when the user signs out.
    pub raw: Zeroizing<String>,
    /// What the provider is asked with later on, if it gave that.
    refresh_token: Option<Zeroizing<String>>,
    /// The nonce of the login.
    nonce: String,
    /// When this was said.
    at: Timestamp,
    /// The digest of the code that brought it.
    code: [u8; 32],
    /// When the login began.
    began: Timestamp,
    /// The login.
    state: String,
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched").finish_non_exhaustive()
    }
}

/// Why somebody was not vouched for.
#[derive(Debug)]
pub enum Failure {
    /// It does not hold.
    Refused(Rejection),
    /// Something did not answer.
    Unavailable(Unavailable),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<Unavailable> for Failure {
    fn from(down: Unavailable) -> Self {
        Self::Unavailable(down)
    }
}

impl RelyingParty {
    /// The relying party of a tenant whose portal is at `origin`. Called on the control runtime, where its calls are made.
    ///
    /// # Errors
    /// A sentence, where a key or an authority cannot be used.
    pub fn new(
        name: SchemeName,
        oidc: &Oidc,
        origin: &str,
        users: Arc<Users>,
        sessions: OpSessions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let one =
            |settings: &Arc<crate::config::checked::OpenidProvider>| OpenidProvider::new(settings.clone(), clock.clone()).map(Arc::new);
        let providers = oidc.providers.iter().map(one).collect::<Result<_, String>>()?;
        Ok(Self { name, origin: origin.to_owned(), providers, users, sessions })
    }

    /// The sessions there that ours descend from.
    pub fn sessions(&self) -> &OpSessions {
        &self.sessions
    }

    /// Has the provider forget what sessions that are over could be asked about with: of this one, and `everywhere` of all of its
    /// user there.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn let_go(&self, tenant: &TenantId, session: &mut OpSession, everywhere: bool, now: Timestamp) -> Result<(), Unavailable> {
        let Some(provider) = self.provider(&session.provider) else { return Ok(()) };
        let mut others = if everywhere { self.sessions.take_others(tenant, session).await? } else { Vec::new() };
        for token in std::iter::once(session).chain(&mut others).filter_map(OpSession::take_refresh_token) {
            provider.take_back(token, now);
        }
        Ok(())
    }

    /// The scheme to stand in a chain.
    pub fn scheme(self: &Arc<Self>) -> OidcScheme {
        OidcScheme(self.clone())
    }

    /// Its name.
    pub fn name(&self) -> &SchemeName {
        &self.name
    }

    /// Who may vouch for users.
    pub fn providers(&self) -> &[Arc<OpenidProvider>] {
        &self.providers
    }

    /// The provider of this name.
    pub fn provider(&self, name: &str) -> Option<&Arc<OpenidProvider>> {
        self.providers.iter().find(|provider| provider.name() == name)
    }

    /// The provider whose answers come to this path.
    pub fn answered_by(&self, path: &str) -> Option<&Arc<OpenidProvider>> {
        self.provider(path.strip_prefix(CALLBACK)?)
    }

    /// The provider that ends sessions at this path.
    pub fn ended_by(&self, path: &str) -> Option<&Arc<OpenidProvider>> {
        self.provider(path.strip_prefix(LOGOUT)?)
    }

    /// The public keys by which providers know us.
    pub fn keys(&self) -> String {
        let keys: Vec<&PublicKey> = self.providers.iter().filter_map(|provider| provider.client_key()).collect();
        Jwks::write(keys)
    }

    fn redirect_uri(&self, provider: &OpenidProvider) -> String {
        format!("{}{CALLBACK}{}", self.origin, provider.name())
    }

    /// Where the browser comes back to after it has signed out elsewhere.
    fn signed_out(&self) -> String {
        format!("{}/logout", self.origin)
    }

    /// Asks a provider to sign somebody in.
    async fn ask(&self, provider: &Arc<OpenidProvider>, start: &Start<'_>) -> Result<Departure, Unavailable> {
        let known = provider.known().await?;
        let settings = provider.settings();
        let hint = start.request.target.query_values("login_hint").into_iter().next();
        let hint = hint.filter(|hint| !hint.is_empty() && hint.chars().count() <= MAX_HINT && !hint.chars().any(char::is_control));
        let wish = rp::Wish {
            client_id: &settings.client_id,
            redirect_uri: &self.redirect_uri(provider),
            scopes: &settings.scopes,
            contexts: &settings.contexts().wanted(start.level.unwrap_or_default()),
            max_age: settings.max_age,
            anew: start.anew,
            hint: hint.as_deref(),
            more: &settings.parameters,
        };
        Ok(Departure::Redirect(rp::authorization_url(&known.metadata, &Login::new(start.login, start.seed), &wish)))
    }

    /// Who it is that a provider's answer brings. The login is one that this browser began, and began with this provider.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn finish(
        &self,
        provider: &Arc<OpenidProvider>,
        answer: Answer,
        login: &Login,
        began: Timestamp,
        anew: bool,
        now: Timestamp,
    ) -> Result<Vouched, Failure> {
        let known = provider.known().await?;
        answer.check_issuer(&known.metadata)?;
        let code = match answer.outcome {
            Ok(code) => code,
            Err(error) => return Err(error.rejection().into()),
        };
        let redirect_uri = self.redirect_uri(provider);
        let tokens = provider.exchange(&known.metadata, &rp::exchange(&code, &redirect_uri, login), now).await?;
        let settings = provider.settings();
        let expected = id_token::Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            answers: id_token::Answers::Login { nonce: login.nonce() },
            access_token: &tokens.access_token,
            algorithms: &settings.algorithms,
            skew: settings.skew,
            max_age: settings.max_age,
            not_before: anew.then(|| began.as_second()),
            contexts: &settings.contexts,
        };
        let verify = |known: &provider::Known| IdToken::verify(&tokens.id_token, &known.keys, &expected, now.as_second());
        let (id_token, known) = provider.with_newest_keys(known, verify).await?;
        let userinfo = match settings.userinfo {
            true => provider.userinfo(&known, &tokens.access_token, id_token.token().subject()).await?,
            false => None,
        };
        let Tokens { id_token: raw, refresh_token, .. } = tokens;
        if settings.refresh.is_some() && refresh_token.is_none() {
            tracing::warn!(openid_provider = provider.name(), "it gave no refresh token: it cannot be asked whether this session goes on");
        }
        let code = vestibule_engine::store::digest(&[code.as_bytes()]);
        let (nonce, state) = (login.nonce().to_owned(), login.state.clone());
        Ok(Vouched { id_token, userinfo, raw, refresh_token, nonce, at: now, code, began, state })
    }

    /// What a provider says is over.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn over(&self, provider: &Arc<OpenidProvider>, token: &str, now: Timestamp) -> Result<Verified<LogoutToken>, Failure> {
        let settings = provider.settings();
        let expected = logout::Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            algorithms: &settings.algorithms,
            skew: settings.skew,
        };
        let known = provider.known().await?;
        let verify = |known: &provider::Known| LogoutToken::verify(token, &known.keys, &expected, now.as_second());
        Ok(provider.with_newest_keys(known, verify).await?.0)
    }

    /// Where a browser signs out at a provider, if it can and is to. Nothing is fetched for it: whoever wants to leave does not wait.
    pub fn end_session_url(&self, provider: &OpenidProvider, id_token: &str) -> Option<String> {
        let known = provider.held()?;
        let endpoint = known.metadata.end_session_endpoint.as_ref().filter(|_| provider.leads_out())?;
        Some(logout::end_session_url(endpoint, id_token, &provider.settings().client_id, &self.signed_out()))
    }
}

#[async_trait]
impl Scheme for OidcScheme {
    fn name(&self) -> &SchemeName {
        &self.0.name
    }

    /// Never: answers come to the portal, not to an application.
    fn presents(&self, _: &CheckRequest) -> bool {
        false
    }

    fn consumes(&self) -> &[Place] {
        &[]
    }

    async fn authenticate(&self, _: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        Ok(Outcome::NotApplicable)
    }

    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        Some(self)
    }
}

#[async_trait]
impl LoginFlow for OidcScheme {
    async fn begin(&self, start: &Start<'_>) -> Result<Departure, Unavailable> {
        let provider = start.idp.as_deref().and_then(|name| self.0.provider(name));
        let provider = provider.ok_or_else(|| Unavailable::new(self.0.name.to_string(), "there is no such OpenID provider"))?;
        self.0.ask(provider, start).await
    }

    fn leads(&self) -> Leads {
        Leads::Away
    }
}

/// The reason of a refusal, in the words of the audit.
pub fn fault(reason: Reason) -> OidcFault {
    match reason {
        Reason::Limits => OidcFault::Limits,
        Reason::Malformed => OidcFault::Malformed,
        Reason::Ambiguous => OidcFault::Ambiguous,
        Reason::WrongState => OidcFault::WrongState,
        Reason::WrongIssuer => OidcFault::WrongIssuer,
        Reason::ProviderError => OidcFault::ProviderError,
        Reason::WrongType => OidcFault::WrongType,
        Reason::AlgorithmRefused => OidcFault::AlgorithmRefused,
        Reason::UnknownKey => OidcFault::UnknownKey,
        Reason::SignatureInvalid => OidcFault::SignatureInvalid,
        Reason::WrongAudience => OidcFault::WrongAudience,
        Reason::Expired => OidcFault::Expired,
        Reason::NotYetValid => OidcFault::NotYetValid,
        Reason::Stale => OidcFault::Stale,
        Reason::WrongNonce => OidcFault::WrongNonce,
        Reason::WrongHash => OidcFault::WrongHash,
        Reason::WrongSubject => OidcFault::WrongSubject,
        Reason::WrongContext => OidcFault::WrongContext,
        Reason::WrongEvent => OidcFault::WrongEvent,
        Reason::MissingScope => OidcFault::MissingScope,
    }
}
