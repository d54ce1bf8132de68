//! The `login()` of the partner and enterprise web service interfaces that older integrations speak.
//!
//! What is read is a credential, so a name or a password that is there twice is refused; everything else in the message is ignored.

use std::fmt;

use vestibule_xmlsec::{Document, ElementView, Error as XmlError, FromClaimed, Unsigned};
use zeroize::Zeroizing;

use crate::delegated::LIMITS;
use crate::envelope::Version;
use crate::fault::escape;

/// Which interface is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// For every organisation.
    Partner,
    /// For one.
    Enterprise,
}

impl Interface {
    fn namespace(self) -> &'static str {
        match self {
            Self::Partner => "urn:partner.soap.sforce.com",
            Self::Enterprise => "urn:enterprise.soap.sforce.com",
        }
    }

    fn fault_namespace(self) -> &'static str {
        match self {
            Self::Partner => "urn:fault.partner.soap.sforce.com",
            Self::Enterprise => "urn:fault.enterprise.soap.sforce.com",
        }
    }
}

/// A login. Its `Debug` shows no password.
#[derive(Clone)]
pub struct PartnerLogin {
    /// Of which interface.
    pub interface: Interface,
    /// The name.
    pub username: String,
    /// The password, not trimmed.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for PartnerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartnerLogin").field("interface", &self.interface).field("username", &self.username).finish_non_exhaustive()
    }
}

impl PartnerLogin {
    /// Reads a call.
    ///
    /// # Errors
    /// What is wrong with the message, or that it calls something else.
    pub fn read(octets: &[u8]) -> Result<Self, XmlError> {
        Document::parse(octets, &LIMITS)?.claim::<Self>().map(|claimed| claimed.sender_says().clone())
    }
}

impl FromClaimed for PartnerLogin {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let namespace = Version::Soap11.namespace();
        if !root.is(namespace, "Envelope") {
            return Err(root.unreadable("no SOAP 1.1 envelope"));
        }
        let body = root.child(namespace, "Body")?.ok_or_else(|| root.unreadable("no Body"))?;
        let mut calls = body.children();
        let (Some(call), None) = (calls.next(), calls.next()) else { return Err(body.unreadable("not exactly one call in the Body")) };
        let interface = [Interface::Partner, Interface::Enterprise].into_iter().find(|known| call.is(known.namespace(), "login"));
        let interface = interface.ok_or_else(|| call.unreadable("another call than login"))?;
        let text = |name: &str| match call.child(interface.namespace(), name)? {
            Some(element) => element.text(),
            None => Err(call.unreadable("a name or a password is missing")),
        };
        let (username, password) = (text("username")?, text("password")?);
        Ok(Self { interface, username: username.trim().to_owned(), password: Zeroizing::new(password.into_owned()) })
    }
}

/// What a login came to.
#[derive(Debug, Clone)]
pub struct LoginResult<'a> {
    /// Where further calls go.
    pub server_url: &'a str,
    /// The session, a secret.
    pub session: &'a str,
    /// Whose it is.
    pub user_id: &'a str,
    /// Their login name.
    pub username: &'a str,
    /// Their name.
    pub full_name: &'a str,
    /// Their address for mail.
    pub email: &'a str,
    /// Their organisation.
    pub organization: &'a str,
    /// The session is good for nothing but changing the password.
    pub password_expired: bool,
    /// How long it lives without use, in seconds.
    pub valid_seconds: u64,
}

impl LoginResult<'_> {
    /// The message that says so.
    pub fn write(&self, interface: Interface) -> Zeroizing<String> {
        // Room for all of it: a buffer that grows leaves copies of the session behind.
        let mut out = Zeroizing::new(String::with_capacity(4096 + 12 * self.session.len()));
        out.push_str(r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv=""#);
        out.push_str(Version::Soap11.namespace());
        out.push_str(r#"" xmlns=""#);
        out.push_str(interface.namespace());
        out.push_str(r#""><soapenv:Body><loginResponse><result>"#);
        let mut value = |name: &str, text: &str| {
            out.push_str(&format!("<{name}>"));
            escape(text, &mut out);
            out.push_str(&format!("</{name}>"));
        };
        let flag = |set: bool| if set { "true" } else { "false" };
        value("metadataServerUrl", self.server_url);
        value("passwordExpired", flag(self.password_expired));
        value("sandbox", "false");
        value("serverUrl", self.server_url);
        value("sessionId", self.session);
        value("userId", self.user_id);
        out.push_str("<userInfo>");
        let mut value = |name: &str, text: &str| {
            out.push_str(&format!("<{name}>"));
            escape(text, &mut out);
            out.push_str(&format!("</{name}>"));
        };
        value("organizationId", self.organization);
        value("organizationName", self.organization);
        value("sessionSecondsValid", &self.valid_seconds.to_string());
        value("userEmail", self.email);
        value("userFullName", self.full_name);
        value("userId", self.user_id);
        value("userName", self.username);
        out.push_str("</userInfo></result></loginResponse></soapenv:Body></soapenv:Envelope>");
        out
    }
}

/// The message of a login that failed; `code` is one of the interface's words, e.g. `INVALID_LOGIN`.
pub fn write_login_fault(interface: Interface, code: &str, text: &str) -> String {
    let (mut shown, mut word) = (String::new(), String::new());
    escape(text, &mut shown);
    escape(code, &mut word);
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{}" xmlns:sf="{}" "#,
            r#"xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault><faultcode>sf:{code}</faultcode>"#,
            r#"<faultstring>{code}: {text}</faultstring><detail><sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{code}</sf:exceptionCode>"#,
            r#"<sf:exceptionMessage>{text}</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"#
        ),
        Version::Soap11.namespace(),
        interface.fault_namespace(),
        code = word,
        text = shown
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::ReceivedFault;

    fn call(namespace: &str, inside: &str) -> String {
        format!(
            r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><h xmlns="urn:x"/></e:Header><e:Body><n:login xmlns:n="{namespace}">{inside}</n:login></e:Body></e:Envelope>"#
        )
    }

    #[test]
    fn both_interfaces_are_read() {
        let inside = "<n:username> sara </n:username><n:password> p&amp;</n:password>";
        for interface in [Interface::Partner, Interface::Enterprise] {
            let login = PartnerLogin::read(call(interface.namespace(), inside).as_bytes()).unwrap();
            assert_eq!((login.interface, login.username.as_str(), login.password.as_str()), (interface, "sara", " p&"));
            assert!(!format!("{login:?}").contains("p&"));
        }
    }

    #[test]
    fn what_is_no_login_is_refused() {
        let name = "<n:username>sara</n:username>";
        for text in [
            call("urn:other", "<n:username>a</n:username><n:password>p</n:password>"),
            call(Interface::Partner.namespace(), name),
            call(Interface::Partner.namespace(), &format!("{name}<n:password>p</n:password><n:password>q</n:password>")),
            call(Interface::Partner.namespace(), &format!("{name}<n:password>p</n:password>")).replace("n:login", "n:logout"),
            "<login/>".to_owned(),
        ] {
            assert!(PartnerLogin::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_result_and_a_fault_can_be_read_back() {
        let result = LoginResult {
            server_url: "https://app.example.com/services/Soap/u/64.0",
            session: "s&s",
            user_id: "7",
            username: "sara",
            full_name: "Sara <S>",
            email: "",
            organization: "north",
            password_expired: false,
            valid_seconds: 1800,
        };
        let text = result.write(Interface::Partner);
        assert!(
            text.contains("<sessionId>s&amp;s</sessionId>") && text.contains("<userFullName>Sara &lt;S&gt;</userFullName>"),
            "{}",
            *text
        );
        Document::parse(text.as_bytes(), &LIMITS).unwrap();
        let fault = write_login_fault(Interface::Partner, "INVALID_LOGIN", "Invalid & so on");
        let read = ReceivedFault::read(&Document::parse(fault.as_bytes(), &LIMITS).unwrap()).unwrap().unwrap();
        assert_eq!((read.code.as_str(), read.reason.as_str()), ("INVALID_LOGIN", "INVALID_LOGIN: Invalid & so on"));
        assert_eq!(read.detail.first().map(crate::fault::Detail::text), Some("INVALID_LOGIN"));
    }
}
