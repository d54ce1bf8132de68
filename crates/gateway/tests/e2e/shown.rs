//! What a page of `docs/schemes` shows of the wire, exchange after exchange: each `http` block is sent as it stands there, and its
//! `http-answer` has to be found in the answer. What we send to others by ourselves stands in blocks of `http-asked`.
//!
//! `{{word}}` stands for what differs from run to run. A word that is known is what it is; one that is not yet known is learned
//! from where it stands in an answer.

use std::collections::BTreeMap;

use crate::support::Answer;

pub struct Shown {
    page: String,
    exchanges: std::vec::IntoIter<(String, String)>,
    asked: std::vec::IntoIter<String>,
    words: BTreeMap<String, String>,
}

impl Shown {
    /// The exchanges of a page.
    pub fn on(page: &str) -> Self {
        let path = format!("{}/../../docs/schemes/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let blocks = |language: &str| -> Vec<String> {
            text.split(&format!("\n```{language}\n")).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
        };
        let (asked, answered) = (blocks("http"), blocks("http-answer"));
        assert!(!asked.is_empty() && asked.len() == answered.len(), "{page}: {} and {}", asked.len(), answered.len());
        let exchanges = asked.into_iter().zip(answered).collect::<Vec<_>>().into_iter();
        Self { page: page.to_owned(), exchanges, asked: blocks("http-asked").into_iter(), words: BTreeMap::new() }
    }

    /// A word is known.
    pub fn know(&mut self, word: &str, value: &str) {
        self.words.insert(word.to_owned(), value.to_owned());
    }

    /// What was learned.
    pub fn word(&self, word: &str) -> &str {
        self.words.get(word).unwrap_or_else(|| panic!("{}: {{{{{word}}}}} is not known", self.page))
    }

    /// Sends the next exchange, and holds the answer against the page.
    pub fn next(&mut self, send: impl FnOnce(&[u8]) -> Answer) -> Answer {
        let (request, expected) = self.exchanges.next().unwrap_or_else(|| panic!("{} shows no more", self.page));
        let request = self.fill(&request);
        let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = head.trim_end().replace('\n', "\r\n");
        let answer = send(format!("{head}\r\n{length}Connection: close\r\n\r\n{body}").as_bytes());
        let (head, body) = expected.split_once("\n\n").unwrap_or((&expected, ""));
        let mut lines = head.lines();
        let line = lines.next().unwrap();
        assert!(line.starts_with(&format!("HTTP/1.1 {} ", answer.status)), "{}: {request}\n{line}\n{answer:?}", self.page);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let found: Vec<String> = answer.all(name).into_iter().map(str::to_owned).collect();
            assert!(found.iter().any(|found| self.learn(value, found, true)), "{}: {request}\n{line}\n{answer:?}", self.page);
        }
        assert!(self.learn(body, &answer.body, false), "{}: {request}\n{body}\n{answer:?}", self.page);
        answer
    }

    /// Holds what somebody was asked, all of it, against what the page shows next of that.
    pub fn asked(&mut self, found: &str) {
        let shown = self.asked.next().unwrap_or_else(|| panic!("{} shows no more", self.page));
        assert!(self.learn(&shown, found.trim_end(), true), "{}: {shown}\n{found}", self.page);
    }

    /// Every exchange was sent, and all was asked.
    pub fn end(mut self) {
        assert!(self.exchanges.next().is_none() && self.asked.next().is_none(), "{} shows more", self.page);
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        for (place, part) in text.split("{{").enumerate() {
            match part.split_once("}}") {
                Some((word, rest)) if place > 0 => filled.extend([self.word(word), rest]),
                _ => filled.push_str(part),
            }
        }
        filled
    }

    /// Whether a text is what is shown, all of it or a part of it; words in it are learned.
    fn learn(&mut self, shown: &str, text: &str, whole: bool) -> bool {
        // What is known, between what is not.
        let (mut parts, mut unknown) = (vec![String::new()], Vec::new());
        for (place, part) in shown.split("{{").enumerate() {
            match part.split_once("}}") {
                Some((word, rest)) if place > 0 => match self.words.get(word) {
                    Some(value) => parts.last_mut().unwrap().extend([value.as_str(), rest]),
                    None => {
                        unknown.push(word.to_owned());
                        parts.push(rest.to_owned());
                    }
                },
                _ => parts.last_mut().unwrap().push_str(part),
            }
        }
        let Some(begin) = text.find(&parts[0]).filter(|begin| !whole || *begin == 0) else { return false };
        let mut rest = &text[begin + parts[0].len()..];
        let mut learned = Vec::new();
        for (word, part) in unknown.into_iter().zip(&parts[1..]) {
            let end = if part.is_empty() { Some(rest.len()) } else { rest.find(part) };
            let Some(end) = end.filter(|end| *end > 0) else { return false };
            learned.push((word, rest[..end].to_owned()));
            rest = &rest[end + part.len()..];
        }
        if whole && !rest.is_empty() {
            return false;
        }
        self.words.extend(learned);
        true
    }
}
