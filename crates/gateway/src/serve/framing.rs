//! A second pair of eyes on HTTP/1 framing (RFC 9112 §6.3, §11.2).
//!
//! An attacker sends two lengths and hopes that two readers believe different ones (attack 87). hyper reads
//! such a request one way and drops the other length silently, so nothing above it can refuse. This scanner
//! sees the octets before hyper does and says of each head whether its framing was single-valued. It never
//! lets anything through that hyper would not: its word can only refuse.

use std::borrow::Cow;
use std::collections::VecDeque;

/// Longest line kept while it is incomplete; hyper has refused the head long before.
const MAX_PARTIAL_LINE: usize = 256 * 1024;

/// What the scanner says of one request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its framing can be read in one way only.
    Clear,
    /// Two lengths, a length that is no number, or a fragment in the target.
    Ambiguous,
}

/// Follows one connection's requests.
#[derive(Debug)]
pub struct Framing {
    state: State,
    partial: Vec<u8>,
    head: Head,
    verdicts: VecDeque<Verdict>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RequestLine,
    Fields,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    /// HTTP/2, a tunnel, or something hyper refuses: nothing more to say.
    Blind,
}

#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    lengths: u32,
    codings: u32,
    odd: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { state: State::RequestLine, partial: Vec::new(), head: Head::default(), verdicts: VecDeque::new() }
    }
}

impl Framing {
    /// A scanner that says nothing: HTTP/2 frames itself.
    pub fn blind() -> Self {
        Self { state: State::Blind, ..Self::default() }
    }

    /// The verdict on the oldest head not yet asked about.
    pub fn next_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// Whether a head has begun and not ended.
    pub fn is_inside_head(&self) -> bool {
        match self.state {
            State::Fields => true,
            State::RequestLine => !self.partial.is_empty(),
            State::Body(_) | State::ChunkSize | State::Chunk(_) | State::Trailers | State::Blind => false,
        }
    }

    /// Whether everything seen so far were whole requests.
    pub fn is_between_requests(&self) -> bool {
        self.state == State::RequestLine && self.partial.is_empty()
    }

    /// Looks at the next octets of the connection.
    pub fn look(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            match self.state {
                State::Blind => return,
                State::Body(left) => octets = self.skip(octets, left, State::Body, State::RequestLine),
                State::Chunk(left) => octets = self.skip(octets, left, State::Chunk, State::ChunkSize),
                State::RequestLine | State::Fields | State::ChunkSize | State::Trailers => {
                    let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
                        if self.partial.len() + octets.len() > MAX_PARTIAL_LINE {
                            self.state = State::Blind;
                        } else {
                            self.partial.extend_from_slice(octets);
                        }
                        return;
                    };
                    let (line, rest) = octets.split_at(end);
                    octets = rest.get(1..).unwrap_or_default();
                    let line = if self.partial.is_empty() {
                        Cow::Borrowed(line)
                    } else {
                        self.partial.extend_from_slice(line);
                        Cow::Owned(std::mem::take(&mut self.partial))
                    };
                    self.line(line.strip_suffix(b"\r").unwrap_or(&line));
                }
            }
        }
    }

    fn skip<'a>(&mut self, octets: &'a [u8], left: u64, same: fn(u64) -> State, then: State) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(octets.len());
        let left = left - here as u64;
        self.state = if left == 0 { then } else { same(left) };
        octets.get(here..).unwrap_or_default()
    }

    fn line(&mut self, line: &[u8]) {
        match self.state {
            // RFC 9112 §2.2: empty lines before a request line are skipped.
            State::RequestLine if line.is_empty() => {}
            State::RequestLine if line.starts_with(b"PRI ") => self.state = State::Blind,
            State::RequestLine => {
                // hyper's URI drops a fragment without a word (attack 79).
                self.head = Head { odd: line.contains(&b'#'), ..Head::default() };
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => self.end_of_head(),
            State::Fields => self.head.field(line),
            State::ChunkSize => {
                let digits = line.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
                self.state = match size {
                    Some(0) => State::Trailers,
                    // The chunk's own line end is part of what is skipped.
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    None => State::Blind,
                };
            }
            State::Trailers if line.is_empty() => self.state = State::RequestLine,
            State::Trailers | State::Body(_) | State::Chunk(_) | State::Blind => {}
        }
    }

    fn end_of_head(&mut self) {
        let Head { length, lengths, codings, odd } = std::mem::take(&mut self.head);
        let single = match (lengths, codings) {
            (0, 0 | 1) => true,
            (1, 0) => length.is_some(),
            _ => false,
        };
        self.verdicts.push_back(if single && !odd { Verdict::Clear } else { Verdict::Ambiguous });
        self.state = match (codings, length) {
            (0, None | Some(0)) => State::RequestLine,
            (0, Some(length)) => State::Body(length),
            _ => State::ChunkSize,
        };
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) {
        let mut halves = line.splitn(2, |octet| *octet == b':');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            self.length = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            self.odd |= !value.eq_ignore_ascii_case(b"chunked");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(octets: &[u8], step: usize) -> Vec<Verdict> {
        let mut framing = Framing::default();
        for piece in octets.chunks(step.max(1)) {
            framing.look(piece);
        }
        std::iter::from_fn(|| framing.next_verdict()).collect()
    }

    #[test]
    fn two_lengths_are_ambiguous() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\ncontent-length: 3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: gzip, chunked",
            "TRANSFER-ENCODING : identity",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert_eq!(verdicts(head.as_bytes(), 7), [Verdict::Ambiguous], "{fields}");
        }
        assert_eq!(verdicts(b"GET /a#b HTTP/1.1\r\n\r\n", 99), [Verdict::Ambiguous]);
    }

    #[test]
    fn requests_are_followed_through_their_bodies() {
        let stream = b"\r\nPOST /1 HTTP/1.1\r\nContent-Length: 31\r\n\r\nTransfer-Encoding: x\r\n\r\nGET / \r\n\
            POST /2 HTTP/1.1\nTransfer-Encoding: chunked\n\n5;x=y\r\nab\r\nc\r\n0\r\nContent-Length: 9\r\n\r\n\
            GET /3 HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        for step in [1, 2, 3, 1000] {
            assert_eq!(verdicts(stream, step), [Verdict::Clear; 3], "{step}");
        }
    }

    #[test]
    fn a_started_head_is_noticed() {
        let mut framing = Framing::default();
        assert!(framing.is_between_requests());
        framing.look(b"GE");
        assert!(framing.is_inside_head());
        framing.look(b"T / HTTP/1.1\r\nA: b\r\n");
        assert!(framing.is_inside_head());
        framing.look(b"\r\n");
        assert!(framing.is_between_requests());
    }

    proptest! {
        #[test]
        fn how_the_octets_arrive_does_not_matter(octets in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            prop_assert_eq!(verdicts(&octets, step), verdicts(&octets, 1000));
        }
    }
}
