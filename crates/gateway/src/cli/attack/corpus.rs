//! The attacks on doors (`corpus/attacks/doors`), and the places of a house that are filled into them.

use std::collections::BTreeMap;

use serde_json::Value;
use vestibule_engine::secret::Secret;

use super::wire;

/// One attack to a line, made by `make.py` beside it.
pub const REQUESTS: &str = include_str!("../../../../../corpus/attacks/doors/requests.jsonl");

/// A house as an attacker knows it.
pub struct Place {
    /// The application's host, as a client writes it: with a port where it is not the usual one.
    pub authority: String,
    /// The same without a port.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The host of the login page.
    pub portal: Option<String>,
    /// A protected page, without the first slash.
    pub page: String,
    /// A page that is open to everybody, as the folder that is open and what is in it, without slashes around.
    pub open: Option<(String, String)>,
    /// The `Authorization` of somebody who may read the protected page.
    pub credential: Option<Secret<String>>,
}

/// One attack, with the places of a house in it.
pub struct Attack {
    /// Its name.
    pub name: String,
    /// Its row in the list of published attacks.
    pub row: u32,
    /// What is sent.
    pub octets: Vec<u8>,
    /// A good credential is in it, so it may reach the application as its owner.
    pub known: bool,
    /// It counts as a wrong password.
    pub guess: bool,
}

/// What of a house must be known for some attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// A page that is open to everybody.
    Open,
    /// The host of the login page.
    Portal,
    /// Somebody who may read the protected page.
    Credential,
}

/// Attacks that fit a house, and how many lack something.
#[derive(Default)]
pub struct Corpus {
    /// The attacks, in their order.
    pub attacks: Vec<Attack>,
    /// What was missing, and for how many.
    pub left_out: BTreeMap<Lacking, usize>,
}

/// Reads a corpus for a house.
///
/// # Errors
/// A sentence: a line is not one of a corpus.
pub fn read(text: &str, place: &Place) -> Result<Corpus, String> {
    let mut corpus = Corpus::default();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("line {} is no attack", number + 1);
        let line: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        match attack(&line, place).ok_or_else(wrong)? {
            Ok(attack) => corpus.attacks.push(attack),
            Err(lacking) => *corpus.left_out.entry(lacking).or_default() += 1,
        }
    }
    Ok(corpus)
}

/// `None` if the line is not one of a corpus.
fn attack(line: &Value, place: &Place) -> Option<Result<Attack, Lacking>> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let flag = |name: &str| line.get(name).and_then(Value::as_bool).unwrap_or(false);
    let filled = match line.get("fields") {
        None => place.fill(text("octets")?).map(|text| octets(&text)),
        Some(fields) => {
            let mut pairs = Vec::new();
            let mut lacking = None;
            for field in fields.as_array()? {
                let mut piece = |index: usize| {
                    let filled = place.fill(field.get(index)?.as_str()?);
                    octets(&filled.unwrap_or_else(|what| {
                        lacking = Some(what);
                        String::new()
                    }))
                };
                pairs.push((piece(0)?, piece(1)?));
            }
            let body = octets(text("body")?)?;
            lacking.map_or(Ok(()), Err).map(|()| Some(wire::http2_request(&pairs, &body)))
        }
    };
    let octets = match filled {
        Ok(octets) => octets?,
        Err(lacking) => return Some(Err(lacking)),
    };
    let row = line.get("row").and_then(Value::as_u64).and_then(|row| u32::try_from(row).ok())?;
    Some(Ok(Attack { name: text("name")?.to_owned(), row, octets, known: flag("known"), guess: flag("guess") }))
}

/// Each character is one octet.
fn octets(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

impl Place {
    /// Puts what is known of the house in the place of words in braces.
    fn fill(&self, text: &str) -> Result<String, Lacking> {
        if !text.contains('{') {
            return Ok(text.to_owned());
        }
        // Whoever judges the second request by itself refuses it; whoever does not sees it whole.
        let second = format!("GET /{}?smuggled HTTP/1.1\r\nHost: {}\r\nX-Vestibule-User: root\r\n\r\n", self.page, self.authority);
        let (folder, leaf) = self.open.as_ref().map(|(folder, leaf)| (folder.as_str(), leaf.as_str())).unzip();
        let upper = folder.map(str::to_ascii_uppercase);
        let mut title = folder.map(str::to_owned);
        if let Some(first) = title.as_mut().and_then(|title| title.get_mut(..1)) {
            first.make_ascii_uppercase();
        }
        let escaped = self.page.bytes().next().map(|first| format!("%{first:02x}{}", self.page.get(1..).unwrap_or_default()));
        let words: [(&str, Result<&str, Lacking>); 16] = [
            ("{second}", Ok(&second)),
            ("{second.length}", Ok(&second.len().to_string())),
            ("{second.hex}", Ok(&format!("{:x}", second.len()))),
            ("{chunked.length}", Ok(&(second.len() + b"0\r\n\r\n".len()).to_string())),
            ("{host}", Ok(&self.authority)),
            ("{name}", Ok(&self.name)),
            ("{NAME}", Ok(&self.name.to_ascii_uppercase())),
            ("{port}", Ok(&self.port.to_string())),
            ("{page}", Ok(&self.page)),
            ("{%page}", Ok(escaped.as_deref().unwrap_or_default())),
            ("{portal}", self.portal.as_deref().ok_or(Lacking::Portal)),
            ("{open}", folder.ok_or(Lacking::Open)),
            ("{OPEN}", upper.as_deref().ok_or(Lacking::Open)),
            ("{Open}", title.as_deref().ok_or(Lacking::Open)),
            ("{leaf}", leaf.ok_or(Lacking::Open)),
            ("{basic}", self.credential.as_ref().map(|text| text.reveal().as_str()).ok_or(Lacking::Credential)),
        ];
        let mut filled = text.to_owned();
        for (word, value) in words {
            if filled.contains(word) {
                filled = filled.replace(word, value?);
            }
        }
        Ok(filled)
    }
}
