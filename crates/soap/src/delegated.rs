//! Delegated authentication: one service asks another whether a password is right.
//!
//! Both roles, wire-compatible with `AuthenticationService.wsdl` (`urn:authentication.soap.sforce.com`). Endpoints in the field
//! pick values by regular expression, so what is asked has one spelling. What is answered is read strictly: an attacker who
//! gets any other page in front of the asker must not find `true` in it (attack 75).

use std::fmt;

use vestibule_xmlsec::{Document, ElementView, Error as XmlError, FromClaimed, Limits, Unsigned};
use zeroize::Zeroizing;

use crate::envelope::Version;
use crate::fault::{ReceivedFault, escape};

/// The namespace of question and answer.
pub const NAMESPACE: &str = "urn:authentication.soap.sforce.com";
/// The namespace of `xsi:nil`.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// The two names that endpoints give to the root of an answer; the first is the one of the service's description.
const ROOTS: [&str; 2] = ["AuthenticateResult", "AuthenticateResponse"];
/// What a message may hold at most. An answer has five elements.
pub const LIMITS: Limits = Limits { size: 64 << 10, depth: 16, nodes: 256, text: 8 << 10, ..Limits::MESSAGE };

/// What is asked: is this the password of this name? Its `Debug` shows no password.
#[derive(Clone)]
pub struct Question {
    /// The name.
    pub username: String,
    /// The password, not trimmed.
    pub password: Zeroizing<String>,
    /// From where somebody signs in, as the asker says; empty where it does not.
    pub source_ip: String,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("username", &self.username).field("source_ip", &self.source_ip).finish_non_exhaustive()
    }
}

impl Question {
    /// The message of SOAP 1.1, with one spelling: no prefixes, no attributes, no line breaks. None where XML 1.0 has no
    /// way to say a character.
    pub fn write(&self) -> Option<Zeroizing<String>> {
        const EMPTY: usize = 330;
        // Room for all of it: a buffer that grows leaves copies behind.
        let longest = 5 * (self.username.len() + self.password.len() + self.source_ip.len());
        let mut out = Zeroizing::new(String::with_capacity(EMPTY + longest));
        out.push_str(concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
            r#"<Authenticate xmlns="urn:authentication.soap.sforce.com">"#
        ));
        for (name, text) in [("username", self.username.as_str()), ("password", &self.password), ("sourceIp", &self.source_ip)] {
            out.push('<');
            out.push_str(name);
            out.push('>');
            value(text, &mut out)?;
            out.push_str("</");
            out.push_str(name);
            out.push('>');
        }
        out.push_str("</Authenticate></soapenv:Body></soapenv:Envelope>");
        Some(out)
    }

    /// Reads what somebody asks, liberally: any prefix, any order, any further elements, with or without an address.
    ///
    /// # Errors
    /// What is wrong with the message; a name or a password that is missing or there twice.
    pub fn read(octets: &[u8]) -> Result<Self, XmlError> {
        Document::parse(octets, &LIMITS)?.claim::<Self>().map(|claimed| claimed.sender_says().clone())
    }
}

impl FromClaimed for Question {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let asked = only_child(root, &[Version::Soap11, Version::Soap12])?;
        if !asked.is(NAMESPACE, "Authenticate") {
            return Err(asked.unreadable("another operation than Authenticate"));
        }
        let text = |name: &str| asked.child(NAMESPACE, name)?.map(|element| element.text()).transpose();
        let username = text("username")?.ok_or_else(|| asked.unreadable("no username"))?;
        let password = text("password")?.ok_or_else(|| asked.unreadable("no password"))?;
        Ok(Self {
            username: trim(&username).to_owned(),
            password: Zeroizing::new(password.into_owned()),
            source_ip: trim(&text("sourceIp")?.unwrap_or_default()).to_owned(),
        })
    }
}

/// What an endpoint made of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It said whether the password is right.
    Verdict(bool),
    /// It could not say.
    Fault(ReceivedFault),
}

/// How much of an answer may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tolerance {
    /// Nothing but the name of its root.
    Strict,
    /// SOAP 1.2, and `Authenticated` in no namespace.
    Lenient,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// Everything that is not exactly one boolean where it belongs, and no fault.
    pub fn read(octets: &[u8], tolerance: Tolerance) -> Result<Self, XmlError> {
        let document = Document::parse(octets, &LIMITS)?;
        if let Some(fault) = ReceivedFault::read(&document)? {
            return Ok(Self::Fault(fault));
        }
        let verdict = match tolerance {
            Tolerance::Strict => document.claim::<Strict>()?.sender_says().0,
            Tolerance::Lenient => document.claim::<Lenient>()?.sender_says().0,
        };
        Ok(Self::Verdict(verdict))
    }
}

struct Strict(bool);

impl FromClaimed for Strict {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        verdict(root, &[Version::Soap11], &[NAMESPACE]).map(Self)
    }
}

struct Lenient(bool);

impl FromClaimed for Lenient {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        verdict(root, &[Version::Soap11, Version::Soap12], &[NAMESPACE, ""]).map(Self)
    }
}

fn verdict(root: ElementView<'_, Unsigned>, versions: &[Version], namespaces: &[&str]) -> Result<bool, XmlError> {
    let answered = only_child(root, versions)?;
    if !ROOTS.iter().any(|name| answered.is(NAMESPACE, name)) {
        return Err(answered.unreadable("another answer than AuthenticateResult"));
    }
    // By local name first: one in each namespace are two.
    let mut said = answered.children().filter(|child| child.local() == "Authenticated");
    let (Some(said), None) = (said.next(), said.next()) else {
        return Err(answered.unreadable("not exactly one Authenticated"));
    };
    if !namespaces.contains(&said.namespace()) {
        return Err(said.unreadable("Authenticated in another namespace"));
    }
    if said.attribute(INSTANCE, "nil").is_some() {
        return Err(said.unreadable("Authenticated is nil"));
    }
    let text = said.text()?;
    match trim(&text) {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(said.unreadable("Authenticated is no boolean")),
    }
}

/// The one element of the Body.
fn only_child<'t>(root: ElementView<'t, Unsigned>, versions: &[Version]) -> Result<ElementView<'t, Unsigned>, XmlError> {
    let namespace = versions.iter().map(|version| version.namespace()).find(|namespace| root.is(namespace, "Envelope"));
    let namespace = namespace.ok_or_else(|| root.unreadable("no SOAP envelope"))?;
    let body = root.child(namespace, "Body")?.ok_or_else(|| root.unreadable("no Body"))?;
    let mut elements = body.children();
    match (elements.next(), elements.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(body.unreadable("not exactly one element in the Body")),
    }
}

/// The name of the root of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AnswerRoot {
    /// `AuthenticateResult`, as the service's description has it.
    #[default]
    Result,
    /// `AuthenticateResponse`, as some askers were built against.
    Response,
}

/// The message of SOAP 1.1 that says whether a password is right.
pub fn write_answer(verdict: bool, root: AnswerRoot) -> String {
    let [result, response] = ROOTS;
    let root = match root {
        AnswerRoot::Result => result,
        AnswerRoot::Response => response,
    };
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
            r#"<{0} xmlns="urn:authentication.soap.sforce.com"><Authenticated>{1}</Authenticated></{0}>"#,
            r#"</soapenv:Body></soapenv:Envelope>"#
        ),
        root, verdict
    )
}

/// The description of a service at this address (WSDL 1.1), for tools that make callers from it.
pub fn wsdl(address: &str) -> String {
    let mut at = String::new();
    escape(address, &mut at);
    WSDL.replace("{address}", &at)
}

/// What a description lacks of a service that can be asked; empty if it lacks nothing.
///
/// # Errors
/// What is wrong with the document.
pub fn missing_from(wsdl: &[u8]) -> Result<Vec<&'static str>, XmlError> {
    Document::parse(wsdl, &LIMITS)?.claim::<Described>().map(|claimed| claimed.sender_says().0.clone())
}

struct Described(Vec<&'static str>);

impl FromClaimed for Described {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        const DESCRIPTION: &str = "http://schemas.xmlsoap.org/wsdl/";
        const BINDING: &str = "http://schemas.xmlsoap.org/wsdl/soap/";
        const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";
        let mut all = Vec::new();
        gather(root, &mut all);
        let has = |namespace: &str, local: &str, attribute: &str, value: &str| {
            all.iter().any(|element| element.is(namespace, local) && element.attribute("", attribute) == Some(value))
        };
        let wanted = [
            ("the namespace", root.is(DESCRIPTION, "definitions") && root.attribute("", "targetNamespace") == Some(NAMESPACE)),
            ("the operation Authenticate", has(DESCRIPTION, "operation", "name", "Authenticate")),
            ("an empty soapAction", has(BINDING, "operation", "soapAction", "")),
            ("the element Authenticate", has(SCHEMA, "element", "name", "Authenticate")),
            ("the element AuthenticateResult", has(SCHEMA, "element", "name", ROOTS[0])),
            ("the element Authenticated", has(SCHEMA, "element", "name", "Authenticated")),
        ];
        Ok(Self(wanted.into_iter().filter(|(_, there)| !there).map(|(what, _)| what).collect()))
    }
}

/// All elements below; the document's depth is bounded.
fn gather<'t>(element: ElementView<'t, Unsigned>, out: &mut Vec<ElementView<'t, Unsigned>>) {
    for child in element.children() {
        out.push(child);
        gather(child, out);
    }
}

const WSDL: &str = r###"<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:tns="urn:authentication.soap.sforce.com"
    targetNamespace="urn:authentication.soap.sforce.com">
  <types>
    <xsd:schema elementFormDefault="qualified" targetNamespace="urn:authentication.soap.sforce.com">
      <xsd:element name="Authenticate">
        <xsd:complexType>
          <xsd:sequence>
            <xsd:element name="username" type="xsd:string"/>
            <xsd:element name="password" type="xsd:string"/>
            <xsd:element name="sourceIp" type="xsd:string"/>
            <xsd:any namespace="##targetNamespace" minOccurs="0" maxOccurs="unbounded" processContents="lax"/>
          </xsd:sequence>
        </xsd:complexType>
      </xsd:element>
      <xsd:element name="AuthenticateResult">
        <xsd:complexType>
          <xsd:sequence>
            <xsd:element name="Authenticated" type="xsd:boolean"/>
          </xsd:sequence>
        </xsd:complexType>
      </xsd:element>
    </xsd:schema>
  </types>
  <message name="AuthenticateRequest"><part name="parameters" element="tns:Authenticate"/></message>
  <message name="AuthenticateResponse"><part name="parameters" element="tns:AuthenticateResult"/></message>
  <portType name="AuthenticationPortType">
    <operation name="Authenticate">
      <input message="tns:AuthenticateRequest"/>
      <output message="tns:AuthenticateResponse"/>
    </operation>
  </portType>
  <binding name="AuthenticationBinding" type="tns:AuthenticationPortType">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="Authenticate">
      <soap:operation soapAction=""/>
      <input><soap:body use="literal" parts="parameters"/></input>
      <output><soap:body use="literal" parts="parameters"/></output>
    </operation>
  </binding>
  <service name="SforceAuthenticationService">
    <port name="AuthenticationService" binding="tns:AuthenticationBinding"><soap:address location="{address}"/></port>
  </service>
</definitions>
"###;

/// XML's white space; no more, since a password may end in any other.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// A text with the three escapes that every reader knows. None for what XML 1.0 §2.2 does not have.
fn value(text: &str, out: &mut String) -> Option<()> {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A parser would read it as a line feed.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => return None,
            other => out.push(other),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(username: &str, password: &str) -> Question {
        Question { username: username.into(), password: Zeroizing::new(password.into()), source_ip: "203.0.113.24".into() }
    }

    #[test]
    fn a_question_has_one_spelling() {
        let written = question("mara@example.net", "s3cret&x").write().unwrap();
        let expected = concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">"#,
            r#"<soapenv:Body><Authenticate xmlns="urn:authentication.soap.sforce.com"><username>mara@example.net</username>"#,
            r#"<password>s3cret&amp;x</password><sourceIp>203.0.113.24</sourceIp></Authenticate></soapenv:Body></soapenv:Envelope>"#
        );
        assert_eq!(*written, expected);
        assert!(!format!("{:?}", question("mara", "s3cret")).contains("s3cret"));
    }

    #[test]
    fn every_password_that_xml_can_say_arrives_as_it_was() {
        let long = "p&".repeat(2048);
        for password in ["& < > ' \"", "]]>", "\u{1f511} päss", " leading and trailing ", "\t\r\n", &long] {
            let asked = question("mara", password);
            let read = Question::read(asked.write().unwrap().as_bytes()).unwrap();
            assert_eq!((*read.password).as_str(), password);
        }
        for password in ["\0", "a\u{1}b", "\u{ffff}"] {
            assert!(question("mara", password).write().is_none(), "{password:?}");
        }
    }

    fn asked(inside: &str) -> String {
        format!(
            r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><n:Authenticate xmlns:n="{NAMESPACE}">{inside}</n:Authenticate></e:Body></e:Envelope>"#
        )
    }

    #[test]
    fn what_others_ask_is_read_liberally() {
        for inside in [
            "<n:username> mara </n:username><n:password> p </n:password><n:sourceIp>192.0.2.1</n:sourceIp>",
            "<n:sourceIp>192.0.2.1</n:sourceIp><n:later/><n:password> p </n:password><x xmlns='urn:x'>y</x><n:username>mara</n:username>",
        ] {
            let read = Question::read(asked(inside).as_bytes()).unwrap();
            assert_eq!((read.username.as_str(), read.password.as_str(), read.source_ip.as_str()), ("mara", " p ", "192.0.2.1"));
        }
        let without = Question::read(asked("<n:username>mara</n:username><n:password>p</n:password>").as_bytes()).unwrap();
        assert_eq!(without.source_ip, "");
        for inside in [
            "<n:username>mara</n:username>",
            "<n:password>p</n:password>",
            "<n:username>mara</n:username><n:username>eve</n:username><n:password>p</n:password>",
            "<n:username>mara</n:username><n:password>p</n:password><n:password>q</n:password>",
            "<n:username>ma<!-- -->ra</n:username><n:password>p</n:password>",
        ] {
            assert!(Question::read(asked(inside).as_bytes()).is_err(), "{inside}");
        }
    }

    fn answered(inside: &str) -> String {
        format!(r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{inside}</s:Body></s:Envelope>"#)
    }

    fn read(text: &str, tolerance: Tolerance) -> Option<bool> {
        match Answer::read(text.as_bytes(), tolerance) {
            Ok(Answer::Verdict(verdict)) => Some(verdict),
            Ok(Answer::Fault(_)) | Err(_) => None,
        }
    }

    #[test]
    fn both_roots_and_both_spellings_of_a_boolean_are_an_answer() {
        for root in [AnswerRoot::Result, AnswerRoot::Response] {
            for verdict in [true, false] {
                assert_eq!(read(&write_answer(verdict, root), Tolerance::Strict), Some(verdict));
            }
        }
        let said = |text: &str| {
            read(
                &answered(&format!(
                    r#"<x:AuthenticateResult xmlns:x="{NAMESPACE}"><x:Authenticated>{text}</x:Authenticated></x:AuthenticateResult>"#
                )),
                Tolerance::Strict,
            )
        };
        for (text, expected) in [
            ("1", Some(true)),
            ("0", Some(false)),
            ("\n true ", Some(true)),
            ("TRUE", None),
            ("yes", None),
            ("", None),
            ("true false", None),
        ] {
            assert_eq!(said(text), expected, "{text:?}");
        }
    }

    #[test]
    fn attack_075_nothing_that_merely_holds_true_is_an_answer() {
        let result = |inside: &str| answered(&format!(r#"<AuthenticateResult xmlns="{NAMESPACE}">{inside}</AuthenticateResult>"#));
        let yes = "<Authenticated>true</Authenticated>";
        for text in [
            "<html><body>Authenticated>true</body></html>".to_owned(),
            "Authenticated>true".to_owned(),
            yes.to_owned(),
            answered(yes),
            answered(&format!(r#"<Other xmlns="{NAMESPACE}">{yes}</Other>"#)),
            answered(&format!("<AuthenticateResult>{yes}</AuthenticateResult>")),
            answered(&format!(
                r#"<AuthenticateResult xmlns="{NAMESPACE}">{yes}</AuthenticateResult><AuthenticateResult xmlns="{NAMESPACE}">{yes}</AuthenticateResult>"#
            )),
            result(&yes.repeat(2)),
            result(&format!("{yes}<Authenticated xmlns=\"\">false</Authenticated>")),
            result("<Authenticated xmlns=\"\">true</Authenticated>"),
            result("<inner><Authenticated>true</Authenticated></inner>"),
            result("<Authenticated>tr<!-- -->ue</Authenticated>"),
            result("<Authenticated><![CDATA[true]]></Authenticated>"),
            result("<Authenticated><b>true</b></Authenticated>"),
            result(r#"<Authenticated xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true">true</Authenticated>"#),
            format!("<!DOCTYPE a>{}", result(yes)),
            result(yes).replace("schemas.xmlsoap.org/soap/envelope/", "example.net/"),
            result(yes).replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"),
            result(&format!("{}{yes}", " ".repeat(70_000))),
            String::new(),
        ] {
            assert_eq!(read(&text, Tolerance::Strict), None, "{}", text.get(..400).unwrap_or(&text));
        }
    }

    #[test]
    fn leniency_is_for_two_things_only() {
        let inside = |namespace: &str| {
            format!(
                r#"<AuthenticateResult xmlns="{NAMESPACE}"><Authenticated xmlns="{namespace}">true</Authenticated></AuthenticateResult>"#
            )
        };
        assert_eq!(read(&answered(&inside("")), Tolerance::Lenient), Some(true));
        let twelve =
            answered(&inside(NAMESPACE)).replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope");
        assert_eq!(read(&twelve, Tolerance::Lenient), Some(true));
        assert_eq!(read(&answered(&inside("urn:other")), Tolerance::Lenient), None);
    }

    #[test]
    fn a_fault_is_no_verdict() {
        let fault = answered("<s:Fault><faultcode>s:Server</faultcode><faultstring>backend</faultstring></s:Fault>");
        match Answer::read(fault.as_bytes(), Tolerance::Strict) {
            Ok(Answer::Fault(fault)) => assert_eq!((fault.code.as_str(), fault.reason.as_str()), ("Server", "backend")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_description_names_the_address() {
        let wsdl = wsdl("https://sso.example.net/da/a&b");
        assert!(wsdl.contains(r#"location="https://sso.example.net/da/a&amp;b""#));
        assert_eq!(missing_from(wsdl.as_bytes()), Ok(Vec::new()));
        let other = wsdl.replace("AuthenticateResult", "Result").replace("soapAction=\"\"", "soapAction=\"x\"");
        assert_eq!(missing_from(other.as_bytes()).unwrap(), ["an empty soapAction", "the element AuthenticateResult"]);
        assert!(missing_from(b"<html>").is_err());
    }
}
