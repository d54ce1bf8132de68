//! The login form: the family of Basic, asked by our own page on the portal host.
//!
//! An attacker guesses here as they do at Basic, so the gates are the same; and makes a victim's browser post the
//! attacker's own password (login CSRF), which the page itself must refuse before it calls [`LoginFlow::finish`].

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::identity::{SchemeName, TenantId, Username, password};
use vestibule_engine::realm::{Answer, Offered, dearest};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Callback, Departure, Login, LoginFlow, Outcome, Place, Rejection, Scheme, Start, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::tenant::local_name;

use super::family::{Family, Offer, PlainHttp};
use super::known_device;

/// The form field of the name.
pub const USERNAME: &str = "username";
/// The form field of the password.
pub const PASSWORD: &str = "password";

/// The scheme.
#[derive(Debug)]
pub struct LoginForm {
    name: SchemeName,
    family: Family,
    domains: HashMap<TenantId, String>,
    plain: PlainHttp,
    consumes: [Place; 2],
}

impl LoginForm {
    /// A login form over these realms. `domains` are the user-name suffixes of the tenants that have one.
    pub fn new(name: SchemeName, family: Family, domains: HashMap<TenantId, String>, plain: PlainHttp) -> Self {
        Self { name, family, domains, plain, consumes: known_device::places() }
    }
}

#[async_trait]
impl Scheme for LoginForm {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    /// Never: what the form carries is posted to our own page, not to an application.
    fn presents(&self, _: &CheckRequest) -> bool {
        false
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, _: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        Ok(Outcome::NotApplicable)
    }

    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        Some(self)
    }
}

#[async_trait]
impl LoginFlow for LoginForm {
    async fn begin(&self, _: &Start<'_>) -> Result<Departure, Unavailable> {
        Ok(Departure::Page)
    }

    fn dearest(&self) -> Duration {
        dearest(&self.family.steps)
    }

    async fn finish(&self, callback: &Callback<'_>, trail: &mut Trail) -> Result<Login, Unavailable> {
        let Callback { request, tenant, accounts, floor, now, .. } = *callback;
        let refused = |reason| Ok(Login::Rejected(Rejection::next(reason)));
        if !self.plain.admits(request) {
            tracing::warn!(request = %request.id, scheme = %self.name, "a password came over an unprotected channel");
            return refused(Reason::InsecureChannel);
        }
        let (typed_name, typed_password) = match (field(callback, USERNAME), field(callback, PASSWORD)) {
            (Ok(name), Ok(password)) => (name.reveal(), password.reveal()),
            (Err(reason), _) | (_, Err(reason)) => return refused(reason),
        };
        let domain = self.domains.get(tenant).map(String::as_str);
        // As at Basic, which cannot carry control characters: one password, one set of doors.
        let password = password(typed_password).filter(|password| !password.reveal().chars().any(char::is_control));
        let (Some(username), Some(password)) = (Username::parse(local_name(typed_name.trim(), domain)), password) else {
            return refused(Reason::MalformedCredential);
        };
        let offer = Offer { request, tenant, username: &username, secret: Offered::Password(&password), accounts, floor, now };
        let known_device = self.family.knows_device(&offer).await;
        match self.family.verify(&offer, known_device, trail).await? {
            Answer::Accepted { account, realm } => {
                let proof = Box::new(self.family.proof(&self.name, tenant, account, &realm, now));
                Ok(Login::Accepted { proof, return_to: None })
            }
            Answer::Rejected(rejection) => Ok(Login::Rejected(rejection)),
        }
    }
}

/// The one value of a field. Two are as suspicious as two headers.
fn field<'a>(callback: &Callback<'a>, name: &str) -> Result<&'a Secret<String>, Reason> {
    let mut values = callback.form.iter().filter(|(found, _)| found == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Reason::DuplicateCredential),
        (None, _) => Err(Reason::MalformedCredential),
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::identity::Level;
    use vestibule_engine::realm::Accounts;
    use vestibule_engine::request::Channel;
    use vestibule_engine::scheme::Who;

    use super::super::house::{House, request};
    use super::*;

    fn form(house: &House) -> LoginForm {
        let domains = HashMap::from([(TenantId::from("north"), "north".to_owned())]);
        LoginForm::new("login-form".into(), house.family.clone(), domains, PlainHttp::Refused)
    }

    async fn post(house: &House, request: &CheckRequest, fields: &[(&str, &str)]) -> Login {
        let form: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(*value))).collect();
        let (tenant, now) = (TenantId::from("north"), house.family.clock.now());
        let callback = Callback { request, tenant: &tenant, form: &form, accounts: Accounts::All, floor: Duration::ZERO, now };
        self::form(house).finish(&callback, &mut house.trail()).await.unwrap()
    }

    fn reason(login: &Login) -> Option<Reason> {
        match login {
            Login::Rejected(rejection) => Some(rejection.reason),
            Login::Accepted { .. } | Login::Continue(_) => None,
        }
    }

    #[tokio::test]
    async fn a_name_and_its_password_sign_in() {
        let house = House::new();
        let ada = house.shelf.add("ada", None, |_| {});
        for name in ["ada", " Ada ", "ada@north"] {
            match post(&house, &request(&[]), &[("csrf", "x"), ("username", name), ("password", "right:ada")]).await {
                Login::Accepted { proof, return_to: None } => {
                    assert_eq!((proof.who, proof.scheme.as_str(), proof.level), (Who::User(ada), "login-form", Level(10)));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn everything_else_does_not() {
        let house = House::new();
        house.shelf.add("ada", None, |_| {});
        for (fields, expected) in [
            (&[("username", "ada"), ("password", "wrong")][..], Reason::WrongPassword),
            (&[("username", "bob"), ("password", "wrong")], Reason::UnknownUser),
            (&[("username", "ada"), ("password", "")], Reason::EmptyPassword),
            (&[("username", ""), ("password", "x")], Reason::MalformedCredential),
            (&[("username", "ada"), ("password", "x\ny")], Reason::MalformedCredential),
            (&[("username", "ada")], Reason::MalformedCredential),
            (&[], Reason::MalformedCredential),
            (&[("username", "ada"), ("username", "bob"), ("password", "right:ada")], Reason::DuplicateCredential),
            (&[("username", "ada"), ("password", "wrong"), ("password", "right:ada")], Reason::DuplicateCredential),
        ] {
            assert_eq!(reason(&post(&house, &request(&[]), fields).await), Some(expected), "{fields:?}");
        }
        let mut plain = request(&[]);
        plain.client.channel = Channel::Plain;
        let fields = [("username", "ada"), ("password", "right:ada")];
        assert_eq!(reason(&post(&house, &plain, &fields).await), Some(Reason::InsecureChannel));
    }

    #[tokio::test]
    async fn the_form_and_basic_share_one_gate() {
        let house = House::new();
        house.shelf.add("ada", None, |_| {});
        for guess in ["1", "2", "3", "4", "5"] {
            post(&house, &request(&[]), &[("username", "ada"), ("password", guess)]).await;
        }
        let tenant = TenantId::from("north");
        let (request, username, password) = (request(&[]), Username::parse("ada").unwrap(), Secret::from("right:ada"));
        let offer = Offer {
            request: &request,
            tenant: &tenant,
            username: &username,
            secret: Offered::Password(&password),
            accounts: Accounts::All,
            floor: Duration::ZERO,
            now: house.family.clock.now(),
        };
        let answer = house.family.verify(&offer, false, &mut house.trail()).await.unwrap();
        assert!(matches!(answer, Answer::Rejected(rejection) if rejection.reason == Reason::AccountGateClosed));
    }

    #[tokio::test]
    async fn the_form_is_never_in_an_applications_request() {
        let house = House::new();
        let form = form(&house);
        assert!(!form.presents(&request(&[("authorization", "Basic YTpi")])));
        assert!(form.login_flow().is_some());
    }
}
