//! `vestibule attack --target URL`: the corpus of attacks on doors, against a gateway that runs.
//!
//! An operator's self-test. It sends what strangers send (attack groups D3 to D5) and judges what a stranger sees: whoever
//! is let in where nobody may be, sent away to another host, or answered twice for one request. What the application was
//! told a client does not see; what only its log could show is counted as unseen and never as held.

mod corpus;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::ServerName;
use serde_json::json;

use self::corpus::{Attack, Corpus, Lacking, Place};
use self::wire::Came;
use super::explain::basic;
use super::output::{Cell, Output, Tone};
use super::{Answer, Failure};
use crate::forward::{self, HttpVersion};

/// What each attack was answered at our own doors in the tests, where the application's log was read, too.
const ANSWERS: &str = include_str!("../../../../corpus/attacks/doors/answers.json");
/// Attacks under way at one time.
const HANDS: usize = 8;
/// For a connection to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest corpus read, in octets.
const MAX_CORPUS: u64 = 16 << 20;

/// What the rows of the list of published attacks are about.
const ROWS: [(u32, &str); 24] = [
    (77, "dot segments and separators in every spelling"),
    (78, "escapes that two readers read in two ways"),
    (79, "a fragment in the target"),
    (80, "a rule that matches the query"),
    (81, "the host in another spelling"),
    (82, "targets in another form"),
    (83, "what only a proxy may say"),
    (84, "identity headers of a client's own, in every spelling"),
    (85, "hop-by-hop fields that name identity headers"),
    (86, "one field twice"),
    (87, "smuggling: one request for one reader, two for the next"),
    (88, "a client's word that opens a bypass"),
    (89, "names with a tenant's look"),
    (90, "cookies that are no sessions"),
    (92, "methods, and junk in the place of a credential"),
    (95, "open redirects"),
    (96, "numbers without measure"),
    (97, "who somebody is, in another product's headers"),
    (98, "credentials that are filters, empty, or hardly readable"),
    (100, "a client's address by its own word"),
    (101, "tokens that say how they want to be verified"),
    (102, "a name and a password cut at another colon"),
    (111, "a prefix that sends elsewhere"),
    (113, "paths of gRPC that are none"),
];

/// Attack a running gateway as strangers do, and say what held
#[derive(Debug, Args)]
#[command(
    after_help = "attack --target https://app.example.com/orders --open /static/logo.png sends some 1,600 hostile requests and changes nothing.\n\
    The page must be protected and may be read by the user, if one is named. Wrong passwords are not among the requests unless \
    --guesses is given: they close the gate of this address for some minutes."
)]
pub struct Attacking {
    /// A protected page of an application, as browsers reach it
    #[arg(long, value_name = "URL")]
    target: String,
    /// A page of the same host that is open to everybody, in a folder that is
    #[arg(long, value_name = "PATH")]
    open: Option<String>,
    /// The host of the login page [default: where browsers are sent]
    #[arg(long, value_name = "HOST")]
    portal: Option<String>,
    /// Somebody who may read the page; the password is asked for
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read that password from a file
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Send wrong passwords, too
    #[arg(long)]
    guesses: bool,
    /// Only the attacks of these rows of the list
    #[arg(long, value_name = "ROW")]
    row: Vec<u32>,
    /// Another corpus than the one in this program
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
}

/// What a stranger sees of an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It was refused.
    Held,
    /// It was let in where that may be; only the application knows as whom and to what.
    Unseen,
    /// It should not have been.
    Broken(String),
}

/// An attack that was made.
struct Made<'a> {
    attack: &'a Attack,
    status: u16,
    verdict: Verdict,
}

/// Where attacks go.
struct Door {
    place: Place,
    address: SocketAddr,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

/// What is known of the gateway before anything hostile is sent.
struct Baseline {
    protected: u16,
    /// The hosts it sends browsers to.
    sends_to: BTreeSet<String>,
}

impl Attacking {
    /// Attacks. Yes, if everything held.
    pub fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let mut door = self.door()?;
        let baseline = self.look(&mut door)?;
        let text = match &self.corpus {
            Some(path) => read_corpus(path)?,
            None => corpus::REQUESTS.to_owned(),
        };
        let Corpus { attacks, mut left_out } = corpus::read(&text, &door.place).map_err(Failure::not_tried)?;
        let wanted = |attack: &Attack| self.row.is_empty() || self.row.contains(&attack.row);
        if !self.row.is_empty() {
            left_out.clear();
        }
        let (attacks, guesses): (Vec<_>, Vec<_>) = attacks.into_iter().filter(wanted).partition(|attack| !attack.guess);
        if attacks.is_empty() && guesses.is_empty() {
            return Err(Failure::not_tried("no attack of the corpus is left")
                .fix("name other rows with --row, or the places of the house with --open and --user"));
        }
        let known = harmless();
        let mut made = door.attack(&attacks, HANDS, &baseline, &known);
        // One after the other: what is asked behind a closed gate shows nothing.
        let quiet = if self.guesses { 0 } else { guesses.len() };
        if self.guesses {
            made.extend(door.attack(&guesses, 1, &baseline, &known));
        }
        let after = door.send(&door.request(&door.place.page, "")).ok().map(|came| came.first);
        let alive = after == Some(baseline.protected) || self.guesses && after.is_some_and(|status| (400..500).contains(&status));
        let report = Report { made: &made, left_out: &left_out, quiet, alive };
        report.print(output);
        Ok(if report.holds() { Answer::Yes } else { Answer::No })
    }

    fn door(&self) -> Result<Door, Failure> {
        let wrong =
            || Failure::not_tried(format!("`{}` is no URL", self.target)).fix("write it as a browser does: https://app.example.com/orders");
        let url = url::Url::parse(&self.target).map_err(|_| wrong())?;
        let (name, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(wrong)?;
        let page = url.path().trim_matches('/').to_owned();
        if page.is_empty() {
            return Err(Failure::not_tried("the root of a host is no page to attack")
                .fix("name a protected page below it: --target https://app.example.com/orders"));
        }
        let open = self.open.as_deref().map(|path| {
            let split = path.trim_matches('/').split_once('/').filter(|(folder, leaf)| !folder.is_empty() && !leaf.is_empty());
            let (folder, leaf) = split.ok_or_else(|| {
                Failure::not_tried(format!("`{path}` is in no folder")).fix("name an open page in an open folder: --open /static/logo.png")
            })?;
            Ok((folder.to_owned(), leaf.to_owned()))
        });
        let credential = self.user.as_ref().map(|user| Ok(basic(user, self.password_file.as_deref())?.1.0));
        let place = Place {
            authority: url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")),
            name: name.to_owned(),
            port,
            portal: self.portal.clone(),
            page,
            open: open.transpose()?,
            credential: credential.transpose()?,
        };
        let address = resolve(name, port)?;
        let tls = match url.scheme() {
            "http" => None,
            "https" => {
                let config = forward::client_tls(&[], None, HttpVersion::Http1).map_err(|error| Failure::not_tried(error.to_string()))?;
                let name = ServerName::try_from(name.to_owned()).map_err(|error| Failure::not_tried(error.to_string()))?;
                Some((Arc::new(config), name))
            }
            _ => return Err(wrong()),
        };
        Ok(Door { place, address, tls })
    }

    /// Looks at the house as a friend does. What is not as it was said makes every verdict worthless.
    fn look(&self, door: &mut Door) -> Result<Baseline, Failure> {
        let plain = door.send(&door.request(&door.place.page, ""))?;
        if plain.first == 0 {
            return Err(Failure::not_tried(format!("{} does not answer in HTTP", door.address)));
        }
        if plain.first < 300 || plain.first == 404 {
            return Err(Failure::not_tried(format!("/{} is answered {}: it is not protected", door.place.page, plain.first))
                .fix("name a protected page in --target"));
        }
        let browser =
            door.send(&door.request(&door.place.page, "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"))?;
        let mut sends_to: BTreeSet<String> = browser.header("location").iter().filter_map(|to| host_of(to, &door.place.name)).collect();
        if door.place.portal.is_none() {
            let location = browser.header("location").into_iter().next();
            let portal = location.and_then(|to| url::Url::parse(&to).ok());
            let same = portal.filter(|url| url.port_or_known_default() == Some(door.place.port));
            door.place.portal = same.and_then(|url| {
                Some(url.port().map_or(url.host_str()?.to_owned(), |port| format!("{}:{port}", url.host_str().unwrap_or_default())))
            });
        }
        sends_to.extend(door.place.portal.iter().filter_map(|portal| portal.split(':').next()).map(str::to_ascii_lowercase));
        sends_to.insert(door.place.name.to_ascii_lowercase());
        if let Some((folder, leaf)) = &door.place.open {
            let open = door.send(&door.request(&format!("{folder}/{leaf}"), ""))?;
            if !(200..300).contains(&open.first) {
                return Err(Failure::not_tried(format!("/{folder}/{leaf} is answered {}: it is not open", open.first))
                    .fix("name a page that everybody may read with --open"));
            }
        }
        if let Some(credential) = &door.place.credential {
            let known = door.send(&door.request(&door.place.page, &format!("Authorization: {}\r\n", credential.reveal())))?;
            if !(200..300).contains(&known.first) {
                return Err(Failure::not_tried(format!("/{} is answered {} with that password", door.place.page, known.first))
                    .fix("name a user who may read the page by Basic"));
            }
        }
        Ok(Baseline { protected: plain.first, sends_to })
    }
}

impl Door {
    fn request(&self, path: &str, fields: &str) -> Vec<u8> {
        format!(
            "GET /{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vestibule-attack\r\nConnection: close\r\n{fields}\r\n",
            self.place.authority
        )
        .into_bytes()
    }

    fn send(&self, octets: &[u8]) -> Result<Came, Failure> {
        let failed = |error: std::io::Error| Failure::not_tried(format!("{} does not answer: {error}", self.address));
        let stream = TcpStream::connect_timeout(&self.address, CONNECT).map_err(failed)?;
        stream.set_read_timeout(Some(wire::GLANCE)).map_err(failed)?;
        Ok(match &self.tls {
            None => wire::exchange(stream, octets),
            Some((config, name)) => {
                let session =
                    rustls::ClientConnection::new(config.clone(), name.clone()).map_err(|error| Failure::not_tried(error.to_string()))?;
                wire::exchange(rustls::StreamOwned::new(session, stream), octets)
            }
        })
    }

    /// Makes attacks, several at one time.
    fn attack<'a>(&self, attacks: &'a [Attack], hands: usize, baseline: &Baseline, known: &BTreeMap<String, Harmless>) -> Vec<Made<'a>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut made = Vec::new();
            while let Some(attack) = attacks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (status, verdict) = match self.send(&attack.octets) {
                    Ok(came) => (came.first, judge(attack, &came, baseline, known.get(&attack.name), &self.place)),
                    Err(failure) => (0, Verdict::Broken(failure.message)),
                };
                made.push(Made { attack, status, verdict });
            }
            made
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..hands).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    }
}

/// What a stranger can tell of an attack by its answer.
fn judge(attack: &Attack, came: &Came, baseline: &Baseline, harmless: Option<&Harmless>, place: &Place) -> Verdict {
    let passed = |status: &u16| (200..300).contains(status);
    for to in came.header("location") {
        // Relative to where it was asked for; what cannot be read leads nowhere.
        if host_of(&to, &place.name).is_none_or(|host| !baseline.sends_to.contains(&host)) {
            return Verdict::Broken(format!("sends browsers to {to}"));
        }
    }
    if attack.name.starts_with("redirect-portal") && String::from_utf8_lossy(&came.octets).contains("evil") {
        return Verdict::Broken("the login page names where the attacker wants to go".to_owned());
    }
    let may_pass = harmless.is_some_and(|known| known.forwarded) || attack.known;
    if came.statuses.iter().skip(1).any(passed) {
        return Verdict::Broken("a request within a request was let in".to_owned());
    }
    // The login page itself, whose links were looked at; a refusal in gRPC, which has a status of its own.
    let ours = matches!(attack.row, 95 | 113) && harmless.is_some_and(|known| known.statuses.contains(&came.first));
    match came.first {
        status if passed(&status) && ours => Verdict::Held,
        status if passed(&status) && !may_pass => Verdict::Broken(format!("let in with {status}")),
        status if passed(&status) => Verdict::Unseen,
        status if status >= 500 && may_pass => Verdict::Unseen,
        status if status >= 500 && harmless.is_none_or(|known| !known.statuses.contains(&status)) => {
            Verdict::Broken(format!("answered {status}: something fell over"))
        }
        0 if harmless.is_some_and(|known| !known.statuses.contains(&0))
            && came.octets.is_empty()
            && !attack.octets.starts_with(b"PRI ") =>
        {
            Verdict::Broken("no answer at all".to_owned())
        }
        _ => Verdict::Held,
    }
}

/// The host a `Location` leads to, as browsers read it, relative to the application's own.
fn host_of(location: &str, own: &str) -> Option<String> {
    let base = url::Url::parse(&format!("http://{own}/")).ok()?;
    let url = base.join(location).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.host_str().map(str::to_ascii_lowercase)).flatten()
}

/// What an attack was answered with at our own doors, while the application's log showed no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Harmless {
    statuses: BTreeSet<u16>,
    /// Some door forwarded it, as what it was judged to be.
    forwarded: bool,
}

fn harmless() -> BTreeMap<String, Harmless> {
    let doors: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(ANSWERS).unwrap_or_default();
    let one = |answers: BTreeMap<String, String>| Harmless {
        statuses: answers.values().filter_map(|answer| answer.split(' ').next()?.parse().ok()).collect(),
        forwarded: answers.values().any(|answer| answer.ends_with(" forwarded")),
    };
    doors.into_iter().map(|(name, answers)| (name, one(answers))).collect()
}

fn read_corpus(path: &std::path::Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::not_tried(format!("{}: {error}", path.display()));
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_CORPUS {
        return Err(Failure::not_tried(format!("{}: too long for a corpus", path.display())));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// `*.localhost` is this machine, whatever its resolver says (RFC 6761 §6.3).
fn resolve(name: &str, port: u16) -> Result<SocketAddr, Failure> {
    let asked = if name.ends_with(".localhost") { "localhost" } else { name };
    let failed = |error: std::io::Error| Failure::not_tried(format!("{name} has no address: {error}"));
    let mut found: Vec<SocketAddr> = (asked, port).to_socket_addrs().map_err(failed)?.collect();
    found.sort_by_key(|address| address.is_ipv6());
    found.into_iter().next().ok_or_else(|| failed(std::io::Error::other("none")))
}

/// What a run came to.
struct Report<'a> {
    made: &'a [Made<'a>],
    left_out: &'a BTreeMap<Lacking, usize>,
    /// Guesses that were not made.
    quiet: usize,
    /// Whether the gateway answers as before.
    alive: bool,
}

impl Report<'_> {
    fn holds(&self) -> bool {
        self.alive && self.broken().next().is_none()
    }

    fn broken(&self) -> impl Iterator<Item = (&Made<'_>, &str)> {
        self.made.iter().filter_map(|made| match &made.verdict {
            Verdict::Broken(why) => Some((made, why.as_str())),
            Verdict::Held | Verdict::Unseen => None,
        })
    }

    /// Held, unseen and broken, by row.
    fn rows(&self) -> BTreeMap<u32, [usize; 3]> {
        let mut rows: BTreeMap<u32, [usize; 3]> = BTreeMap::new();
        for made in self.made {
            let [held, unseen, broken] = rows.entry(made.attack.row).or_default();
            *match made.verdict {
                Verdict::Held => held,
                Verdict::Unseen => unseen,
                Verdict::Broken(_) => broken,
            } += 1;
        }
        rows
    }

    /// What was not tried, and why.
    fn gaps(&self) -> Vec<(usize, &'static str)> {
        let lacking = self.left_out.iter().map(|(what, count)| {
            let why = match what {
                Lacking::Open => "need an open page: --open PATH",
                Lacking::Portal => "need the host of the login page: --portal HOST",
                Lacking::Credential => "need somebody who may read the page: --user NAME",
            };
            (*count, why)
        });
        let guesses = (self.quiet > 0).then_some((self.quiet, "are wrong passwords, which close this address's gate: --guesses"));
        lacking.chain(guesses).collect()
    }

    fn print(&self, output: &mut Output) {
        let unseen = self.made.iter().filter(|made| made.verdict == Verdict::Unseen).count();
        if output.is_json() {
            let checks: Vec<_> = self
                .rows()
                .into_iter()
                .map(|(row, [held, unseen, broken])| json!({ "name": format!("{row} {}", title(row)), "ok": broken == 0, "held": held, "unseen": unseen, "broken": broken }))
                .collect();
            let broken: Vec<_> = self
                .broken()
                .map(|(made, why)| json!({ "name": made.attack.name, "row": made.attack.row, "status": made.status, "why": why }))
                .collect();
            let gaps: Vec<_> = self.gaps().into_iter().map(|(count, why)| json!({ "count": count, "why": why })).collect();
            let verdict = if self.holds() { "accepted" } else { "rejected" };
            return output.json(&json!({ "verdict": verdict, "checks": checks, "broken": broken, "unseen": unseen, "left_out": gaps, "answers_afterwards": self.alive }));
        }
        let row = |(row, [held, unseen, broken]): (u32, [usize; 3])| {
            let (word, tone) = if broken > 0 { ("broken", Tone::Bad) } else { ("held", Tone::Good) };
            let count = |count: usize, word: &str| if count > 0 { format!("{count} {word}") } else { String::new() };
            vec![
                Cell::new(word, tone),
                row.to_string().into(),
                title(row).into(),
                count(held, "refused").into(),
                count(unseen, "let in").into(),
                count(broken, "broken").into(),
            ]
        };
        output.table(&[], self.rows().into_iter().map(row).collect());
        for (made, why) in self.broken() {
            output.gap();
            output.line(Cell::new(format!("{} (row {})", made.attack.name, made.attack.row), Tone::Bad));
            output.line(format!("  {why}"));
        }
        output.gap();
        if !self.alive {
            output.line(Cell::new("The gateway does not answer as it did before.", Tone::Bad));
        }
        let held = self.made.iter().filter(|made| made.verdict == Verdict::Held).count();
        let summary =
            format!("{} attacks: {held} refused, {unseen} let in where that may be, {} broken.", self.made.len(), self.broken().count());
        output.line(Cell::new(summary, if self.holds() { Tone::Good } else { Tone::Bad }));
        if unseen > 0 {
            output.line(
                "Not seen from here: as whom, and with which path and headers, the application got what was let in. Its log shows it:",
            );
            output.line("no X-Vestibule-… header may hold `root`, no target may hold `smuggled`.");
        }
        for (count, why) in self.gaps() {
            output.line(format!("Not tried: {count} that {why}"));
        }
    }
}

fn title(row: u32) -> &'static str {
    ROWS.iter().find(|(known, _)| *known == row).map_or("our own endpoints, called by strangers", |(_, title)| title)
}

#[cfg(test)]
mod tests;
