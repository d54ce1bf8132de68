//! Where audit events go: standard output, a file, a syslog collector, the decision log, and the metrics that count them.
//!
//! The audit proper ([`Audit`]) loses nothing silently: while one of its places cannot be written it says so, and the engine
//! judges nothing. The decision log ([`decisions::DecisionLog`]), which `explain ID` reads, is a convenience
//! and drops what it cannot take, counting what it dropped. An attacker who fills a disk closes doors; he
//! opens none and hides nothing.

use std::sync::Arc;

use vestibule_engine::audit::{Recorded, Sink};
use vestibule_engine::scheme::Unavailable;

pub mod chain;
pub mod decisions;
pub mod file;
pub mod line;
pub mod log;
pub mod meter;
#[cfg(test)]
mod schema;
pub mod syslog;
pub mod trace;
pub mod verify;

/// The audit proper: every record goes to each of its places, written once.
#[derive(Debug)]
pub struct Audit(Vec<Arc<log::Log>>);

impl Audit {
    /// Writes to these.
    pub fn new(logs: Vec<Arc<log::Log>>) -> Self {
        Self(logs)
    }

    /// Looks for files anew, as SIGHUP asks after a rotation. Renaming one is noticed without.
    pub fn reopen(&self) {
        self.0.iter().for_each(|log| log.reopen());
    }

    /// What is wrong, while something is.
    pub fn failing(&self) -> Option<String> {
        self.0.iter().find_map(|log| log.failing())
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.0.iter().map(|log| log.lost()).sum()
    }

    /// Writes what is waiting and ends. A file tells the others of its seals, so it stands last and is closed first.
    pub fn close(&self) {
        self.0.iter().rev().for_each(|log| log.close());
    }
}

impl Sink for Audit {
    fn record(&self, event: &Recorded) {
        match line::write(event) {
            Ok(line) => self.0.iter().for_each(|log| log.append(&line)),
            Err(error) => self.0.iter().for_each(|log| log.lose(&error.to_string())),
        }
    }

    fn ready(&self) -> Result<(), Unavailable> {
        self.0.iter().try_for_each(|log| log.ready())
    }
}

/// Several sinks, told in order.
#[derive(Debug, Clone)]
pub struct FanOut(Arc<[Arc<dyn Sink>]>);

impl FanOut {
    /// Tells all of these.
    pub fn new(sinks: impl IntoIterator<Item = Arc<dyn Sink>>) -> Self {
        Self(sinks.into_iter().collect())
    }
}

impl Sink for FanOut {
    fn record(&self, event: &Recorded) {
        for sink in self.0.iter() {
            sink.record(event);
        }
    }

    fn ready(&self) -> Result<(), Unavailable> {
        self.0.iter().try_for_each(|sink| sink.ready())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use vestibule_engine::audit::{Decided, Event, Ruling, VERSION};
    use vestibule_engine::clock::Timestamp;
    use vestibule_engine::request::RequestId;

    use super::*;

    /// A sink that remembers.
    #[derive(Debug, Default)]
    pub(crate) struct Heard(pub(crate) Mutex<Vec<Recorded>>, pub(crate) bool);

    impl Sink for Heard {
        fn record(&self, event: &Recorded) {
            self.0.lock().unwrap().push(event.clone());
        }
        fn ready(&self) -> Result<(), Unavailable> {
            if self.1 { Err(Unavailable::new("audit", "full")) } else { Ok(()) }
        }
    }

    pub(crate) fn decided(path: &str) -> Recorded {
        Recorded {
            v: VERSION,
            time: Timestamp::UNIX_EPOCH,
            request_id: Some(RequestId::new(Timestamp::UNIX_EPOCH).unwrap()),
            client: None,
            tenant: Some("north".into()),
            event: Event::RequestDecided(Decided {
                method: "GET".into(),
                host: "app.localhost".into(),
                path: path.into(),
                route: None,
                decision: Ruling::Allow,
                scheme: None,
                subject: None,
                reason: None,
                detail: None,
                policy: vec![],
                responses: vec![],
                steps: vec![],
                ms: 0.5,
            }),
        }
    }

    #[test]
    fn all_sinks_are_told_and_one_that_is_full_closes_the_doors() {
        let (one, two) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
        let sinks = FanOut::new([one.clone() as Arc<dyn Sink>, two.clone()]);
        sinks.record(&decided("/"));
        assert_eq!((one.0.lock().unwrap().len(), two.0.lock().unwrap().len()), (1, 1));
        assert!(sinks.ready().is_ok());
        let full = FanOut::new([one as Arc<dyn Sink>, Arc::new(Heard(Mutex::default(), true))]);
        assert!(full.ready().is_err());
    }
}
