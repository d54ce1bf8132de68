//! Octets sent as they are, and what comes back: HTTP/1 (RFC 9112), or as much of HTTP/2 (RFC 9113, RFC 7541) as tells
//! a status and a request id.
//!
//! No library of HTTP sends what an attacker sends. What comes back is not trusted either: every length in it is one
//! that it claims.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// How long an answer may take. A request that is not complete for a reader is cut off by its time limit.
const PATIENCE: Duration = Duration::from_secs(15);
/// After which nothing is expected to come: most such requests are not complete, and the reader waits for the rest.
const SILENCE: Duration = Duration::from_secs(6);
/// Between two looks at whether an answer is whole. The stream's reads must not take longer.
pub const GLANCE: Duration = Duration::from_millis(200);
/// Octets of an answer that are read.
const MAX_ANSWER: usize = 1 << 20;

/// What came back.
#[derive(Debug, Clone)]
pub struct Came {
    /// The final status of each answer; empty if there was none.
    pub statuses: Vec<u16>,
    /// The status of the first, interim ones included; 0 if there was none.
    pub first: u16,
    /// The request id it names.
    pub id: Option<String>,
    /// All of it.
    pub octets: Vec<u8>,
}

impl Came {
    /// The values of a header, in every answer of HTTP/1.
    pub fn header(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.octets);
        let fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// Sends octets and reads what comes back, until it is whole, nothing more is expected, or patience ends.
pub fn exchange(mut stream: impl Read + Write, octets: &[u8]) -> Came {
    // Whoever is refused early closes early; what was said before that counts.
    let _ = stream.write_all(octets);
    let _ = stream.flush();
    let (mut answer, mut buffer, began) = (Vec::new(), vec![0; 65536], now());
    while began.elapsed() < PATIENCE && answer.len() < MAX_ANSWER {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
                if has_ended(&answer) {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                // Whoever keeps the connection open after a whole answer waits for the next request; there is none.
                if head_of(&answer).is_some() || answer.is_empty() && began.elapsed() > SILENCE {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    came(answer)
}

#[expect(clippy::disallowed_methods, reason = "an attacker waits for a server, whatever its clock says")]
fn now() -> Instant {
    Instant::now()
}

/// Makes a request of HTTP/2 on a new connection: the preface, no settings, one stream.
pub fn http2_request(fields: &[(Vec<u8>, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // RFC 7541 §6.2.2: a literal that nobody indexes, without Huffman codes.
        block.push(0);
        for piece in [name, value] {
            integer(&mut block, piece.len());
            block.extend_from_slice(piece);
        }
    }
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut octets, SETTINGS, 0, 0, &[]);
    frame(&mut octets, HEADERS, END_HEADERS | if body.is_empty() { END_STREAM } else { 0 }, 1, &block);
    if !body.is_empty() {
        frame(&mut octets, DATA, END_STREAM, 1, body);
    }
    octets
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

fn frame(octets: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    octets.extend_from_slice(length.get(1..).unwrap_or_default());
    octets.extend_from_slice(&[kind, flags]);
    octets.extend_from_slice(&stream.to_be_bytes());
    octets.extend_from_slice(payload);
}

/// RFC 7541 §5.1, with a prefix of seven bits that are preceded by a zero.
fn integer(octets: &mut Vec<u8>, value: usize) {
    if value < 127 {
        octets.push(value.to_le_bytes()[0]);
        return;
    }
    octets.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        octets.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    octets.push(rest.to_le_bytes()[0]);
}

fn came(octets: Vec<u8>) -> Came {
    if octets.starts_with(b"HTTP/") {
        let (first, statuses) = http1(&octets);
        let mut came = Came { statuses, first, id: None, octets };
        came.id = came.header("x-vestibule-id").into_iter().next();
        return came;
    }
    let (mut statuses, mut id) = (Vec::new(), None);
    for (kind, flags, payload) in frames(&octets) {
        if kind == HEADERS {
            for value in values(block_of(flags, payload)) {
                match value {
                    Told::Status(status) if status >= 200 => statuses.push(status),
                    Told::Status(_) => {}
                    Told::Id(found) => id = Some(found),
                }
            }
        }
    }
    Came { first: statuses.first().copied().unwrap_or(0), statuses, id, octets }
}

/// The status of the first answer, and the final ones of all.
fn http1(octets: &[u8]) -> (u16, Vec<u16>) {
    let (mut rest, mut first, mut statuses) = (octets, None, Vec::new());
    while rest.starts_with(b"HTTP/") {
        let Some(status) = rest.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok())
        else {
            break;
        };
        first.get_or_insert(status);
        let Some(head) = head_of(rest) else {
            statuses.push(status);
            break;
        };
        if (100..200).contains(&status) {
            rest = rest.get(head..).unwrap_or_default();
            continue;
        }
        statuses.push(status);
        let text = String::from_utf8_lossy(rest.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let body = rest.get(head..).unwrap_or_default();
        let length = length_of(&text);
        let skipped = if text.contains("\r\ntransfer-encoding: chunked") {
            chunked(body)
        } else {
            length.or((status == 204 || status == 304).then_some(0))
        };
        rest = skipped.and_then(|skipped| body.get(skipped..)).unwrap_or_default();
    }
    (first.unwrap_or(0), statuses)
}

/// Octets of a head with the empty line at its end.
fn head_of(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn length_of(lower: &str) -> Option<usize> {
    lower.split("\r\n").find_map(|line| line.strip_prefix("content-length:")).and_then(|length| length.trim().parse().ok())
}

/// Octets of a body in chunks, if it is whole.
fn chunked(body: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let line = body.get(at..)?;
        let end = line.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(line.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        at = at.checked_add(end)?.checked_add(2)?.checked_add(size)?.checked_add(2)?;
        if size == 0 {
            return (at <= body.len()).then_some(at);
        }
    }
}

/// Whether the answer says how long it is, and is; some keep the connection open for a while after `Connection: close`.
fn has_ended(answer: &[u8]) -> bool {
    if !answer.starts_with(b"HTTP/") {
        return frames(answer).any(|(kind, flags, _)| match kind {
            DATA | HEADERS => flags & END_STREAM != 0,
            RST_STREAM | GOAWAY => true,
            _ => false,
        });
    }
    let Some(head) = head_of(answer) else { return false };
    let text = String::from_utf8_lossy(answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
    text.contains("\r\nconnection: close") && length_of(&text).is_some_and(|length| answer.len() >= head.saturating_add(length))
}

/// The whole frames of an answer: kind, flags and payload.
fn frames(octets: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let [a, b, c, kind, flags, _, _, _, _, ..] = *rest else { return None };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let payload = rest.get(9..9 + length)?;
        rest = rest.get(9 + length..).unwrap_or_default();
        Some((kind, flags, payload))
    })
}

/// RFC 9113 §6.2: what is around a block of fields.
fn block_of(flags: u8, payload: &[u8]) -> &[u8] {
    let (start, padding) = match payload.first() {
        Some(padding) if flags & PADDED != 0 => (1, usize::from(*padding)),
        _ => (0, 0),
    };
    let start = if flags & PRIORITY != 0 { start + 5 } else { start };
    payload.get(start..payload.len().saturating_sub(padding)).unwrap_or_default()
}

/// What a field tells.
enum Told {
    Status(u16),
    Id(String),
}

/// What the fields of a block tell, as far as that needs neither table: a status, and whatever looks like a request id.
fn values(block: &[u8]) -> Vec<Told> {
    let (mut told, mut rest) = (Vec::new(), block);
    while let Some(&first) = rest.first() {
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let Some(index) = take_integer(&mut rest, prefix) else { break };
        if !literal {
            // RFC 7541, appendix A.
            let status = if prefix == 7 { [200, 204, 206, 304, 400, 404, 500].get(index.wrapping_sub(8)) } else { None };
            told.extend(status.map(|status| Told::Status(*status)));
            continue;
        }
        if index == 0 && take_text(&mut rest).is_none() {
            break;
        }
        let Some(value) = take_text(&mut rest) else { break };
        if (8..15).contains(&index) {
            told.extend(value.parse().ok().map(Told::Status));
        } else if value.len() == 36 && value.matches('-').count() == 4 {
            told.push(Told::Id(value));
        }
    }
    told
}

fn take_integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let (first, mut tail) = rest.split_first()?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        for shift in (0..28).step_by(7) {
            let (next, others) = tail.split_first()?;
            tail = others;
            value += (usize::from(*next) & 0x7f) << shift;
            if next & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Some(value)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let coded = rest.first()? & 0x80 != 0;
    let length = take_integer(rest, 7)?;
    let octets = rest.get(..length)?;
    *rest = rest.get(length..)?;
    Some(if coded { hexadecimal(octets) } else { String::from_utf8_lossy(octets).into_owned() })
}

/// RFC 7541, appendix B, as far as it concerns the digits of a status and of a UUID; `?` for the rest.
fn hexadecimal(octets: &[u8]) -> String {
    const FIVE: [(u8, char); 6] = [(0, '0'), (1, '1'), (2, '2'), (3, 'a'), (4, 'c'), (5, 'e')];
    const SIX: [(u8, char); 11] = [
        (0x16, '-'),
        (0x19, '3'),
        (0x1a, '4'),
        (0x1b, '5'),
        (0x1c, '6'),
        (0x1d, '7'),
        (0x1e, '8'),
        (0x1f, '9'),
        (0x23, 'b'),
        (0x24, 'd'),
        (0x25, 'f'),
    ];
    let bits: Vec<u8> = octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1)).collect();
    let mut text = String::new();
    let mut rest = bits.as_slice();
    let number = |bits: &[u8]| bits.iter().fold(0_u8, |number, bit| number << 1 | bit);
    while rest.len() >= 5 {
        let find = |length: usize, table: &[(u8, char)]| {
            let code = number(rest.get(..length)?);
            table.iter().find(|(known, _)| *known == code).map(|(_, letter)| (length, *letter))
        };
        let Some((length, letter)) = find(5, &FIVE).or_else(|| find(6, &SIX)) else {
            // The padding is a run of ones shorter than an octet.
            if rest.len() >= 8 || rest.contains(&0) {
                text.push('?');
            }
            break;
        };
        text.push(letter);
        rest = rest.get(length..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_behind_each_other_are_told_apart() {
        let octets = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Vestibule-Id: one\r\n\r\nHTTP/HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 400 Bad\r\n\r\nHTTP/1.1 200 text";
        let came = came(octets.to_vec());
        assert_eq!((came.first, came.statuses.as_slice(), came.id.as_deref()), (100, &[200, 401, 400][..], Some("one")));
        assert_eq!(super::came(Vec::new()).first, 0);
        assert_eq!(super::came(b"HTTP/1.1 2".to_vec()).statuses, [0_u16; 0]);
    }

    #[test]
    fn a_status_and_an_id_are_read_from_a_block_of_http2() {
        // RFC 7541, C.6.1: status 302 with Huffman codes; behind it a literal id, and padding.
        let mut block = vec![0x48, 0x82, 0x64, 0x02, 0x00, 0x01, b'x', 36];
        block.extend_from_slice(b"01890a5d-ac96-774b-bcce-b302099a8057");
        let mut octets = Vec::new();
        frame(&mut octets, SETTINGS, 0, 0, &[]);
        frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &block);
        assert!(has_ended(&octets));
        let came = came(octets);
        assert_eq!((came.statuses.as_slice(), came.id.as_deref()), (&[302][..], Some("01890a5d-ac96-774b-bcce-b302099a8057")));
        assert!(matches!(values(&[0x8c]).as_slice(), [Told::Status(400)]));
        // "401" by hand: 011010 00000 00001, padded with ones.
        assert_eq!(hexadecimal(&[0b0110_1000, 0b0000_0001]), "401");
        for cut in 0..block.len() {
            let _ = values(&block[..cut]);
        }
    }

    #[test]
    fn requests_of_http2_are_framed() {
        let octets = http2_request(&[(b":method".to_vec(), b"GET".to_vec()), (b"x".to_vec(), vec![b'y'; 300])], b"hello");
        let all: Vec<_> = frames(&octets[24..]).collect();
        assert_eq!(all.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), [SETTINGS, HEADERS, DATA]);
        assert_eq!(all[1].2.len(), 1 + 8 + 4 + 1 + 2 + 3 + 300);
        assert_eq!(take_integer(&mut &all[1].2[16..], 7), Some(300));
    }
}
