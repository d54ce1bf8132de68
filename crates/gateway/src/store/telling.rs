//! A change as the caches of all nodes hear of it: ours at once and once, others' when word of them arrives.
//!
//! A node that ends a session must not honour its own cached copy a moment later, so our own changes are told when the
//! call returns, not when their echo does. But a call can fail, or its caller leave, after the store has obeyed: then the
//! caches forget on suspicion, and the echo, if it ever comes, counts like anybody's word.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use vestibule_engine::clock::random;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Change, ChangeStream, Changes};

/// Stands for everything in a message.
pub(super) const EVERYTHING: &str = "*";

/// Tells the caches of this node.
#[derive(Debug)]
pub(super) struct Telling {
    changes: Changes,
    /// What a line of a message means.
    read: fn(&str) -> Option<Change>,
    next: AtomicU64,
    /// Calls under way, and calls told of whose echo is still to come.
    ours: Mutex<HashSet<u64>>,
}

impl Telling {
    /// Nothing is heard until [`Telling::hears`].
    pub fn new(read: fn(&str) -> Option<Change>) -> Result<Self, Unavailable> {
        let changes = Changes::default();
        changes.set_live(false);
        // Two nodes that count from chance do not meet.
        let next = AtomicU64::new(u64::from_be_bytes(random()?));
        Ok(Self { changes, read, next, ours: Mutex::default() })
    }

    pub fn subscribe(&self) -> ChangeStream {
        self.changes.subscribe()
    }

    /// A call that may change something begins. If nobody says how it ended, caches forget `suspect`.
    pub fn begin(&self, suspect: Change) -> Call<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.ours().insert(number);
        Call { telling: self, number, suspect: Some(suspect) }
    }

    /// A message arrived: a call's number, a colon, what changed in lines.
    pub fn heard(&self, message: &str) {
        let (number, lines) = message.split_once(':').unwrap_or(("", EVERYTHING));
        if u64::from_str_radix(number, 16).is_ok_and(|number| self.ours().remove(&number)) {
            return;
        }
        for line in lines.lines() {
            // A message of a newer program may say what we cannot read; forgetting too much is safe.
            self.changes.send((self.read)(line).unwrap_or(Change::All));
        }
    }

    /// Messages arrive from now on; some may have been missed before.
    pub fn hears(&self) {
        self.ours().clear();
        self.changes.send(Change::All);
        self.changes.set_live(true);
    }

    /// Whether messages arrive in time; none was missed.
    pub fn set_live(&self, live: bool) {
        self.changes.set_live(live);
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.ours.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A call that may change something.
pub(super) struct Call<'a> {
    telling: &'a Telling,
    number: u64,
    suspect: Option<Change>,
}

impl Call<'_> {
    /// How its message begins, so that we know our own.
    pub fn mark(&self) -> String {
        format!("{:016x}:", self.number)
    }

    /// It ended so, and the store sent a message of it.
    pub fn changed(mut self, changes: impl IntoIterator<Item = Change>) {
        self.suspect = None;
        for change in changes {
            self.telling.changes.send(change);
        }
    }

    /// It changed nothing, and the store sent no message.
    pub fn unchanged(mut self) {
        self.suspect = None;
        self.telling.ours().remove(&self.number);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(suspect) = self.suspect.take() {
            self.telling.ours().remove(&self.number);
            self.telling.changes.send(suspect);
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::store::Key;

    use super::*;

    fn key(text: &str) -> Change {
        Change::Key(Key::from_stored(text))
    }

    fn told(stream: &mut ChangeStream) -> Vec<Change> {
        std::iter::from_fn(|| stream.events.try_recv().ok()).collect()
    }

    fn telling() -> Telling {
        Telling::new(|line| (line != EVERYTHING).then(|| key(line))).unwrap()
    }

    #[test]
    fn our_own_change_is_told_once_whichever_comes_first() {
        let telling = telling();
        let mut stream = telling.subscribe();
        for echo_first in [false, true] {
            let call = telling.begin(Change::All);
            let message = format!("{}k", call.mark());
            if echo_first {
                telling.heard(&message);
                call.changed([key("k")]);
            } else {
                call.changed([key("k")]);
                telling.heard(&message);
            }
            assert_eq!(told(&mut stream), [key("k")]);
        }
    }

    #[test]
    fn a_call_that_nobody_saw_end_is_suspected_and_its_late_echo_counts() {
        let telling = telling();
        let mut stream = telling.subscribe();
        let call = telling.begin(key("k"));
        let message = format!("{}k", call.mark());
        drop(call);
        assert_eq!(told(&mut stream), [key("k")]);
        telling.heard(&message);
        assert_eq!(told(&mut stream), [key("k")]);
    }

    #[test]
    fn what_others_change_is_told_and_what_cannot_be_read_is_everything() {
        let telling = telling();
        let mut stream = telling.subscribe();
        telling.heard("00000000000000aa:a\nb");
        telling.heard("no message of ours");
        telling.heard("00000000000000ab:*");
        assert_eq!(told(&mut stream), [key("a"), key("b"), Change::All, Change::All]);
        telling.begin(Change::All).unchanged();
        assert_eq!(told(&mut stream), []);
    }

    #[test]
    fn who_begins_to_hear_may_have_missed_something() {
        let telling = telling();
        let mut stream = telling.subscribe();
        assert!(!stream.pulse.is_live());
        telling.hears();
        assert!(stream.pulse.is_live());
        assert_eq!(told(&mut stream), [Change::All]);
    }
}
