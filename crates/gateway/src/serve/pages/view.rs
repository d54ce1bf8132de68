//! What each page shows. Values only: the templates escape every one of them (attack 117), and nothing here decides.

use askama::Template;
use http::StatusCode;
use vestibule_engine::request::CheckRequest;

use super::assets::{self, SCRIPT, SCRIPT_VERSION, STYLE, STYLE_VERSION};
use super::brand::Brand;
use super::words::Words;
use crate::schemes::saml::Said;

/// The layout: `display=page|popup|touch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Display {
    /// One card on a page.
    #[default]
    Page,
    /// The card alone, in a small window that closes itself.
    Popup,
    /// Large targets for fingers.
    Touch,
}

impl Display {
    /// Reads a parameter; `None` for what we do not know.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "page" => Some(Self::Page),
            "popup" => Some(Self::Popup),
            "touch" => Some(Self::Touch),
            _ => None,
        }
    }

    /// What suits this browser where nobody says otherwise: who holds it in a hand touches it.
    pub fn usual(request: &CheckRequest) -> Self {
        let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // The hint (Client Hints, `Sec-CH-UA-Mobile`) is a fact, the name of the browser a guess: all of them say `Mozilla`.
        let touch = match text("sec-ch-ua-mobile") {
            "?1" => true,
            "?0" => false,
            _ => ["Mobi", "Android", "iPhone", "iPad"].iter().any(|word| text("user-agent").contains(word)),
        };
        if touch { Self::Touch } else { Self::Page }
    }

    /// The parameter's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Popup => "popup",
            Self::Touch => "touch",
        }
    }
}

/// Where style and script come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dress {
    /// From `/assets` of the same host: the portal.
    Linked,
    /// Inside the page, admitted by their hashes: hosts where `/assets` is the application's.
    Inline,
}

/// What surrounds every page.
#[derive(Debug, Clone)]
pub struct Shell<'a> {
    /// The brand.
    pub brand: &'a Brand,
    /// What it says.
    pub words: &'static Words,
    /// The tenant, which names the brand's stylesheet.
    pub tenant: &'a str,
    /// The layout.
    pub display: Display,
    /// Where style and script come from.
    pub dress: Dress,
}

impl Shell<'_> {
    /// What a sentence says before the name in it.
    fn before<'s>(&self, sentence: &'s str) -> &'s str {
        Words::before(sentence)
    }

    /// And after it.
    fn after<'s>(&self, sentence: &'s str) -> &'s str {
        Words::after(sentence)
    }

    fn style(&self) -> &'static str {
        STYLE
    }

    fn script(&self) -> &'static str {
        SCRIPT
    }

    fn style_url(&self) -> String {
        format!("/assets/vestibule.css?{}", *STYLE_VERSION)
    }

    fn script_url(&self) -> String {
        format!("/assets/vestibule.js?{}", *SCRIPT_VERSION)
    }

    fn brand_url(&self) -> Option<String> {
        let css = self.brand.css()?;
        Some(format!("/assets/{}?{}", assets::brand_name(self.tenant), assets::version(css)))
    }

    fn linked(&self) -> bool {
        self.dress == Dress::Linked
    }
}

/// The sign-in form.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// The anti-forgery token.
    pub state: &'a str,
    /// The name that was typed before.
    pub username: &'a str,
    /// Who is signed in now.
    pub signed_in_as: Option<&'a str>,
    /// Where the user wanted to go.
    pub return_to: &'a str,
    /// The application that waits there.
    pub waiting: Option<&'a str>,
    /// Whether users of every tenant sign in here, so that names need their suffix.
    pub of_anybody: bool,
    /// What went wrong.
    pub problem: Option<Problem<'a>>,
}

/// The identity providers to choose from.
#[derive(Debug, Template)]
#[template(path = "choice.html")]
pub struct ChoicePage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Their names and addresses.
    pub providers: &'a [(String, String)],
    /// Whether a mail address may choose.
    pub by_mail: bool,
    /// The address that chose nobody.
    pub hint: &'a str,
    /// Where the user wanted to go.
    pub return_to: &'a str,
    /// The browser the hand-over is bound to.
    pub bind: &'a str,
    /// The least strength of the proof that is wanted.
    pub level: u8,
    /// The form for those who have a password here.
    pub form: Option<&'a str>,
}

/// Asks before an identity provider replaces somebody's session.
#[derive(Debug, Template)]
#[template(path = "switch.html")]
pub struct SwitchPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Who is signed in.
    pub signed_in_as: &'a str,
    /// Who wants to sign somebody else in.
    pub provider: &'a str,
    /// Where answers are brought.
    pub action: &'a str,
    /// The answer, to be brought again.
    pub fields: &'a [(&'a str, String)],
    /// The form's token.
    pub token: &'a str,
}

/// A form that was kept until its sender had signed in again.
#[derive(Debug, Template)]
#[template(path = "kept.html")]
pub struct KeptPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// The path it was going to.
    pub to: &'a str,
    /// Where it is taken from here.
    pub action: &'a str,
    /// Its fields, as they are shown.
    pub rows: &'a [(String, String)],
    /// And as they are sent.
    pub fields: &'a [(String, String)],
}

/// What would become of a SAML response.
#[derive(Debug, Template)]
#[template(path = "inspect.html")]
pub struct InspectPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Its own address.
    pub action: &'a str,
    /// The form's token.
    pub token: &'a str,
    /// The verdict on the last one.
    pub said: Option<&'a Said>,
}

/// What went wrong with a form.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// What happened.
    pub sentence: &'a str,
    /// What to do.
    pub advice: &'a str,
    /// The decision id, where an administrator can look it up.
    pub id: Option<&'a str>,
}

/// Confirms signing out, or says that it is done.
#[derive(Debug, Template)]
#[template(path = "logout.html")]
pub struct LogoutPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Who is signed in, and the form's token.
    pub session: Option<(&'a str, &'a str)>,
    /// Where the form goes.
    pub action: &'a str,
    /// Where to sign in again.
    pub login: &'a str,
}

/// Changes the password.
#[derive(Debug, Template)]
#[template(path = "password.html")]
pub struct PasswordPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Whose.
    pub username: &'a str,
    /// The anti-forgery token.
    pub token: &'a str,
    /// Where the user wanted to go.
    pub return_to: &'a str,
    /// The browser the hand-over is bound to.
    pub bind: &'a str,
    /// Least characters of the new one.
    pub minimum: usize,
    /// Nothing else is allowed before.
    pub must: bool,
    /// The field at fault, and what is wrong.
    pub problem: Option<(Field, Problem<'a>)>,
}

impl PasswordPage<'_> {
    fn wrong(&self, field: &str) -> bool {
        self.problem.is_some_and(|(found, _)| found.as_str() == field)
    }
}

/// A field of the password form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The password of today.
    Old,
    /// The new one.
    New,
    /// The new one again.
    Repeat,
}

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Repeat => "repeat",
        }
    }
}

/// Who you are, and where you can go.
#[derive(Debug, Template)]
#[template(path = "home.html")]
pub struct HomePage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// The name to show.
    pub name: &'a str,
    /// The login name.
    pub username: &'a str,
    /// Since when: for machines and for people.
    pub since: (&'a str, &'a str),
    /// Applications: name and address.
    pub applications: &'a [(String, String)],
    /// The lists this user may look at: name and address.
    pub administration: &'a [(&'static str, &'static str)],
    /// The anti-forgery token for signing out.
    pub token: &'a str,
    /// Whether the password can be changed here.
    pub password: bool,
    /// Said once, e.g. that the password was changed.
    pub notice: Option<&'a str>,
}

/// Rows that administrators look up.
#[derive(Debug, Template)]
#[template(path = "history.html")]
pub struct HistoryPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// What it is called.
    pub title: &'a str,
    /// What is said where there is nothing yet.
    pub empty: &'a str,
    /// Its own address.
    pub path: &'a str,
    /// Of which user.
    pub user: &'a str,
    /// The columns.
    pub head: &'a [&'a str],
    /// The rows.
    pub rows: &'a [Vec<String>],
    /// All that is kept, for programs: format and address.
    pub exports: &'a [(&'static str, String)],
}

/// Something did not work.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// The status.
    pub status: StatusCode,
    /// What happened, and what to do.
    pub problem: Problem<'a>,
    /// Where to go from here: text and address.
    pub way: Option<(&'a str, &'a str)>,
}

/// The password is kept elsewhere.
#[derive(Debug, Template)]
#[template(path = "elsewhere.html")]
pub struct ElsewherePage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// A sentence.
    pub text: &'a str,
    /// Where it is changed.
    pub url: Option<&'a str>,
}

/// On the way to somebody else's page.
#[derive(Debug, Template)]
#[template(path = "leaving.html")]
pub struct LeavingPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// The host of `action`.
    pub host: &'a str,
    /// Where the form goes.
    pub action: &'a str,
    /// What it carries.
    pub fields: &'a [(String, String)],
    /// What happens there.
    pub lead: &'a str,
}

/// On the way to somebody else's page, by its address.
#[derive(Debug, Template)]
#[template(path = "going.html")]
pub struct GoingPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Where to, for people.
    pub to: &'a str,
    /// The address.
    pub location: &'a str,
    /// What happens there.
    pub lead: &'a str,
}

/// The end of a logout that led through applications.
#[derive(Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutPage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Where it led.
    pub participants: &'a [Participant<'a>],
    /// Where one can go on to sign out: its name, and its address.
    pub onward: Option<(&'a str, &'a str)>,
}

impl SignedOutPage<'_> {
    fn everywhere(&self) -> bool {
        self.participants.iter().all(|participant| participant.is_out)
    }
}

/// What came of a logout at one application.
#[derive(Debug, Clone, Copy)]
pub struct Participant<'a> {
    /// The application.
    pub title: &'a str,
    /// It said that the session there is over.
    pub is_out: bool,
    /// It has no address for that.
    pub cannot_be_asked: bool,
}

/// A small window has done its work.
#[derive(Debug, Template)]
#[template(path = "done.html")]
pub struct DonePage<'a> {
    /// What surrounds it.
    pub shell: Shell<'a>,
    /// Where the user wanted to go.
    pub onward: &'a str,
}

#[cfg(test)]
mod tests {
    use super::super::words::Language;
    use super::*;

    const LONG: &str = "bartholomew.featherstonehaugh-cholmondeley-majoribanks@very-long-department.subsidiary.north.example.com";
    const ID: &str = "0199c3a1-7d5e-7c41-9b0e-5f6a7b8c9d0e";
    const HOSTILE: &str = "\"'><script>alert(1)</script>";

    fn problem<'a>(sentence: &'a str, advice: &'a str) -> Problem<'a> {
        Problem { sentence, advice, id: Some(ID) }
    }

    /// Every page in its ordinary and its worst case.
    fn pages(shell: &Shell<'_>) -> Vec<(&'static str, String)> {
        let mismatch = problem("That user name and password do not match", "Try again, or give your administrator this number:");
        let differ =
            Problem { sentence: "The two new passwords differ", advice: "Type the new password twice, the same each time.", id: None };
        let login = |username, signed_in_as, waiting: Option<&str>, problem| {
            LoginPage {
                shell: shell.clone(),
                state: "s",
                return_to: waiting.unwrap_or_default(),
                username,
                signed_in_as,
                waiting,
                of_anybody: username == LONG,
                problem,
            }
            .render()
            .unwrap()
        };
        let logout = |session| LogoutPage { shell: shell.clone(), session, action: "/logout", login: "/login" }.render().unwrap();
        let password = |username, must, problem| {
            PasswordPage { shell: shell.clone(), username, token: "t", return_to: "", bind: "", minimum: 12, must, problem }
                .render()
                .unwrap()
        };
        let home = |name, username, applications: &[(String, String)], notice: Option<&str>| {
            let since = ("2026-11-21T18:00:00Z", "21 November 2026, 18:00 UTC");
            let password = notice.is_some();
            HomePage {
                shell: shell.clone(),
                name,
                username,
                since,
                applications,
                administration: &[("Login history", "/history")],
                token: "t",
                password,
                notice,
            }
            .render()
            .unwrap()
        };
        let applications =
            ["app.north.localhost:8080", "shop.north.localhost:8080", "a-very-long-application-name.department.north.example.com"]
                .map(|host| (host.to_owned(), format!("https://{host}/")));
        let error = |status, sentence, advice, way| {
            ErrorPage { shell: shell.clone(), status, problem: problem(sentence, advice), way }.render().unwrap()
        };
        let fields = [("SAMLRequest".to_owned(), HOSTILE.to_owned())];
        let leaving = LeavingPage {
            shell: shell.clone(),
            host: "idp.example.com",
            action: "https://idp.example.com/",
            fields: &fields,
            lead: HOSTILE,
        };
        let going = GoingPage {
            shell: shell.clone(),
            to: HOSTILE,
            location: HOSTILE,
            lead: "You are signed in, and your browser takes you there.",
        };
        let out = |participants: &[Participant<'_>], onward| SignedOutPage { shell: shell.clone(), participants, onward }.render().unwrap();
        let participants = [("Wiki", true, false), ("Travel desk", false, false), (LONG, false, true), (HOSTILE, true, false)]
            .map(|(title, is_out, cannot_be_asked)| Participant { title, is_out, cannot_be_asked });
        let providers = [(HOSTILE.to_owned(), "/login?idp=corp".to_owned()), ("Lab".to_owned(), "/login?idp=lab".to_owned())];
        let form = Some("/login?login=true");
        let choice = ChoicePage {
            shell: shell.clone(),
            providers: &providers,
            by_mail: true,
            hint: HOSTILE,
            return_to: HOSTILE,
            bind: "",
            level: 0,
            form,
        };
        let rows: Vec<Vec<String>> = [("ada", "Success"), (HOSTILE, "Invalid login"), (LONG, "Restricted time")]
            .map(|(user, status)| {
                ["2026-11-21 18:00:00", user, "2001:db8::1234:5678:9abc", "form", "local", status, ID].map(str::to_owned).to_vec()
            })
            .into();
        let exports = [("CSV", "/history?format=csv".to_owned()), ("JSON", "/history?format=json".to_owned())];
        let w = shell.words;
        let head = [w.time, w.user, w.from, w.kind, w.vouched, w.verdict, w.number];
        let history = |rows: &[Vec<String>]| {
            let (title, empty, head, exports) = (w.login_history, w.no_logins, &head[..], &exports[..]);
            HistoryPage { shell: shell.clone(), title, empty, path: "/history", user: HOSTILE, head, rows, exports }.render().unwrap()
        };
        let fields = [("SAMLResponse", HOSTILE.to_owned())];
        let switch = SwitchPage {
            shell: shell.clone(),
            signed_in_as: HOSTILE,
            provider: HOSTILE,
            action: "/saml/sp/acs",
            fields: &fields,
            token: "t",
        };
        vec![
            ("login", login("", None, Some("app.north.localhost:8080"), None)),
            ("login-wrong", login("ada", None, Some("app.north.localhost:8080"), Some(mismatch))),
            ("login-long", login(LONG, Some(LONG), Some(LONG), Some(mismatch))),
            ("login-hostile", login(HOSTILE, Some(HOSTILE), Some(HOSTILE), None)),
            ("logout", logout(Some(("ada", "t")))),
            ("logout-done", logout(None)),
            ("password", password("ada", true, None)),
            ("password-wrong", password(LONG, false, Some((Field::Repeat, differ)))),
            ("home", home("Ada Lovelace", "ada", &applications, Some("Your password is changed. You are signed out everywhere else."))),
            ("home-long", home(LONG, LONG, &[], None)),
            (
                "error",
                error(
                    StatusCode::FORBIDDEN,
                    "You may not open this page",
                    "If you think you should, give your administrator this number:",
                    Some(("Go to your applications", "/")),
                ),
            ),
            ("leaving", leaving.render().unwrap()),
            ("going", going.render().unwrap()),
            ("signed-out", out(&participants, None)),
            ("signed-out-onward", out(&participants, Some((HOSTILE, HOSTILE)))),
            ("signed-out-all", out(participants.get(..1).unwrap(), None)),
            ("signed-out-alone", out(&[], None)),
            ("choice", choice.render().unwrap()),
            ("switch", switch.render().unwrap()),
            ("history", history(&rows)),
            ("history-empty", history(&[])),
            ("done", DonePage { shell: shell.clone(), onward: "http://app.north.localhost:8080/" }.render().unwrap()),
        ]
    }

    /// With `VESTIBULE_PAGES` set to a folder, the pages are written there to be looked at.
    #[test]
    fn pages_hold_nothing_that_the_policy_forbids() {
        let plain = Brand::new("North Wind");
        let logo =
            b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 120 32'><rect width='120' height='32' rx='4' fill='#0055aa'/></svg>";
        let mut branded = Brand::new("South").with_accent("#0055aa").unwrap().with_logo("image/svg+xml", logo).unwrap();
        branded.support = Some(format!("Trouble signing in? Call 4711 {HOSTILE}"));
        branded.heading = Some("Welcome to South".to_owned());
        branded.aside = Some(format!("Maintenance on Sunday.\n\n{HOSTILE}"));
        for (brand, theme) in [(&plain, "plain"), (&branded, "branded")] {
            for display in [Display::Page, Display::Popup, Display::Touch] {
                for (dress, language) in [
                    (Dress::Linked, Language::English),
                    (Dress::Inline, Language::English),
                    (Dress::Linked, Language::German),
                    (Dress::Inline, Language::German),
                ] {
                    let words = language.words();
                    for (name, html) in pages(&Shell { brand, words, tenant: "north", display, dress }) {
                        assert!(html.contains(&format!("<html lang=\"{}\"", language.tag())), "{name}");
                        if let (Ok(folder), Dress::Inline) = (std::env::var("VESTIBULE_PAGES"), dress) {
                            std::fs::write(format!("{folder}/{theme}-{}-{}-{name}.html", display.as_str(), language.tag()), &html).unwrap();
                        }
                        let body = html.split_once("<body>").unwrap().1;
                        let markup = body.split_once("\n<script>").map_or(body, |(markup, _)| markup);
                        for forbidden in [" style=", " onclick=", "javascript:", "<script", "<iframe", "http-equiv"] {
                            assert!(!markup.contains(forbidden), "{name}: {forbidden}");
                        }
                        let supported = markup.contains("<p class=\"support\">Trouble signing in? Call 4711 &#");
                        assert_eq!(supported, name.starts_with("login") && theme == "branded", "{name}");
                        assert_eq!(html.contains("<style>"), dress == Dress::Inline, "{name}");
                        assert_eq!(html.matches("<h1>").count(), 1, "{name}");
                        assert!(!markup.contains("! "), "{name}: no exclamation marks");
                        for id in markup.split("aria-describedby=\"").skip(1).flat_map(|rest| rest.split('"').next().unwrap().split(' ')) {
                            assert!(markup.contains(&format!("id=\"{id}\"")), "{name}: {id} is described nowhere");
                        }
                        for id in markup.split("<label for=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                            assert!(markup.contains(&format!("id=\"{id}\"")), "{name}: {id} has no field");
                        }
                    }
                }
            }
        }
    }
}
