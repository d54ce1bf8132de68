use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use vestibule_engine::audit::{Event, Recorded};
use vestibule_engine::clock::SystemClock;
use vestibule_engine::secret::Secret;

use super::*;
use crate::audit::log::Limits;
use crate::audit::tests::decided;
use crate::audit::verify::{Breach, Broken, Demands, Found, verify};
use crate::cli::tests::TempDir;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn key() -> Arc<SealingKey> {
    Arc::new(SealingKey::new(&Secret::new([7; 32])).unwrap())
}

fn open(file: &Path) -> Log {
    Log::file(file, key(), Vec::new(), clock()).unwrap()
}

fn record(log: &Log, path: &str) {
    log.append(&line::write(&decided(path)).unwrap());
}

/// The paths of decisions in a file, save those of lines that are no records.
fn paths(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let lines = text.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    lines.filter_map(|line| line["path"].as_str().map(str::to_owned)).collect()
}

fn check_with(files: &[&Path], demands: &Demands) -> Result<Found, Broken> {
    let latest = files.last().and_then(|last| fs::read(seal_of(last)).ok());
    let open = |file: &&Path| {
        let reader: Box<dyn BufRead> = Box::new(BufReader::new(File::open(file).unwrap()));
        (file.file_name().unwrap().to_string_lossy().into_owned(), reader)
    };
    verify(files.iter().map(open), latest.as_deref(), demands).unwrap()
}

fn check(files: &[&Path]) -> Result<Found, Broken> {
    check_with(files, &Demands::default())
}

fn wait_for(what: impl Fn() -> bool) {
    for _ in 0..1500 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not happen within half a minute");
}

/// A file of 40 decisions, closed.
fn written(dir: &TempDir) -> PathBuf {
    let file = dir.path().join("audit.log");
    let mut medium = Chained::open(&file, key(), Vec::new(), clock()).unwrap();
    let batch: Vec<u8> = (0..40).flat_map(|n| line::write(&decided(&format!("/{n}"))).unwrap()).collect();
    medium.write(&batch, &mut 0).unwrap();
    medium.rest(true).unwrap();
    fs::remove_file(seal_of(&file)).unwrap();
    file
}

/// Changes the lines of a file.
fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(file, lines.join("\n") + "\n").unwrap();
}

#[test]
fn order_is_kept_and_closing_writes_what_waits() {
    let dir = TempDir::new();
    let file = dir.path().join("audit.log");
    let log = open(&file);
    let want: Vec<String> = (0..5000).map(|n| format!("/{n}")).collect();
    want.iter().for_each(|path| record(&log, path));
    log.close();
    assert_eq!(paths(&file), want);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    record(&log, "/late");
    assert_eq!(log.lost(), 1, "after the end nothing is lost silently");
    let found = check(&[&file]).unwrap();
    assert!(found.records >= 5003 && found.seals >= 2 && found.first == 1, "{found:?}");
    assert_eq!((found.unsealed, found.torn, found.unprotected, found.key), (0, 0, 0, key().public()));
}

#[test]
fn lines_of_many_threads_are_never_torn() {
    let dir = TempDir::new();
    let file = dir.path().join("audit.log");
    let log = open(&file);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || (0..500).for_each(|n| record(log, &format!("/{thread}/{n}"))));
        }
    });
    log.close();
    let found = paths(&file);
    assert_eq!(found.len(), 2000);
    for thread in 0..4 {
        let own: Vec<_> = found.iter().filter(|path| path.starts_with(&format!("/{thread}/"))).cloned().collect();
        assert_eq!(own, (0..500).map(|n| format!("/{thread}/{n}")).collect::<Vec<_>>());
    }
    check(&[&file]).unwrap();
}

#[test]
fn a_renamed_file_is_followed_by_a_new_one_and_the_chain_goes_on() {
    let dir = TempDir::new();
    let (file, old) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let log = open(&file);
    record(&log, "/before");
    wait_for(|| paths(&file).len() == 1);
    fs::rename(&file, &old).unwrap();
    record(&log, "/after");
    wait_for(|| paths(&file).len() == 1);
    log.reopen();
    record(&log, "/again");
    log.close();
    assert_eq!(paths(&old), ["/before"]);
    assert_eq!(paths(&file), ["/after", "/again"]);
    check(&[&old, &file]).unwrap();
    assert!(check(&[&file]).unwrap().first > 1, "an old file may be gone");
    assert!(matches!(check(&[&file, &old]).unwrap_err().what, Breach::Moved(..)));
}

#[test]
fn a_medium_that_fails_closes_the_doors_and_loses_nothing_when_it_returns() {
    let dir = TempDir::new();
    let folder = dir.path().join("logs");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("audit.log");
    let log = open(&file);
    record(&log, "/0");
    wait_for(|| paths(&file).len() == 1);
    fs::rename(&folder, dir.path().join("away")).unwrap();
    for n in 1..=20 {
        record(&log, &format!("/{n}"));
    }
    wait_for(|| log.failing().is_some());
    assert!(log.ready().is_err(), "no record, no decision");
    fs::rename(dir.path().join("away"), &folder).unwrap();
    wait_for(|| log.ready().is_ok() && log.failing().is_none());
    log.close();
    assert_eq!(paths(&file), (0..=20).map(|n| format!("/{n}")).collect::<Vec<_>>());
    assert_eq!(log.lost(), 0);
    check(&[&file]).unwrap();
}

#[test]
fn a_full_disk_fails_closed_and_the_loss_is_counted() {
    let medium = Plain(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let log = Log::start("file", medium, Limits { close_at: 500, most: 1000 }, clock()).unwrap();
    for n in 0..20 {
        record(&log, &format!("/{n}"));
    }
    wait_for(|| log.failing().is_some());
    assert!(log.ready().is_err());
    assert!(log.lost() > 0, "beyond the bound records are counted as lost");
}

#[test]
fn a_torn_line_is_written_whole_into_the_next_file() {
    let dir = TempDir::new();
    let (file, old) = (dir.path().join("audit.log"), dir.path().join("old"));
    let mut medium = Chained::open(&file, key(), Vec::new(), clock()).unwrap();
    let batch = [line::write(&decided("/a")).unwrap(), line::write(&decided("/b")).unwrap()].concat();
    let first = batch.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    // A disk that takes one line and half of the next.
    medium.stage(&batch[..first - 1], Some(first));
    medium.stage(&batch[first..batch.len() - 1], Some(batch.len()));
    let half = medium.staged.marks[0].end + 40;
    medium.file.write_all(&medium.staged.octets[..half]).unwrap();
    medium.staged.written = half;
    fs::rename(&file, &old).unwrap();
    let mut done = 0;
    medium.write(&batch, &mut done).unwrap();
    medium.rest(true).unwrap();
    assert_eq!(done, batch.len());
    assert_eq!((paths(&old), paths(&file)), (vec!["/a".to_owned()], vec!["/b".to_owned()]));
    check(&[&old, &file]).unwrap();
}

#[test]
fn the_chain_goes_on_in_the_next_process_whatever_the_last_left_half_written() {
    let dir = TempDir::new();
    for cut in [0, 1, 2, 30, 60, 200] {
        let file = dir.path().join(format!("audit-{cut}.log"));
        let log = open(&file);
        record(&log, "/before");
        log.close();
        // The seal beside it is that of the dying process' last second: before what it had half written.
        let whole = fs::read(&file).unwrap();
        let mut half = Vec::new();
        let head = Tail::read(&file).unwrap().head.unwrap();
        let _ = head.link(line::write(&decided("/half")).unwrap().strip_suffix(b"\n").unwrap(), &mut half);
        half.truncate(half.len() - cut);
        fs::write(&file, [whole, half].concat()).unwrap();
        let log = open(&file);
        record(&log, "/after");
        log.close();
        let found = check(&[&file]).unwrap_or_else(|broken| panic!("{cut}: {broken:?}"));
        assert_eq!(found.torn, u64::from(cut > 1), "{cut}");
        let want: &[&str] = if cut > 1 { &["/before", "/after"] } else { &["/before", "/half", "/after"] };
        assert_eq!(paths(&file), want, "{cut}");
    }
}

#[test]
fn a_file_that_was_moved_away_while_nobody_wrote_is_gone_on_from_its_seal() {
    let dir = TempDir::new();
    let (file, old) = (dir.path().join("audit.log"), dir.path().join("old"));
    let log = open(&file);
    record(&log, "/before");
    log.close();
    fs::rename(&file, &old).unwrap();
    let log = open(&file);
    record(&log, "/after");
    log.close();
    check(&[&old, &file]).unwrap();
}

#[test]
fn the_first_record_that_is_wrong_is_named() {
    type Change = fn(&mut Vec<String>);
    let cases: [(&str, Change, Breach); 9] = [
        ("edited", |lines| lines[10] = lines[10].replace("/8", "/9"), Breach::Changed(11)),
        ("removed", |lines| drop(lines.remove(10)), Breach::Missing(11, 11)),
        ("several removed", |lines| drop(lines.drain(10..15)), Breach::Missing(11, 15)),
        ("moved", |lines| lines.swap(10, 20), Breach::Moved(11, 21)),
        ("repeated", |lines| lines.insert(12, lines[10].clone()), Breach::Moved(11, 12)),
        ("made up", |lines| lines.insert(10, r#"{"v":1}"#.to_owned()), Breach::Unreadable),
        ("the beginning removed", |lines| drop(lines.drain(..5)), Breach::NoBeginning(6)),
        ("a hash edited", |lines| another_hash(lines), Breach::Changed(11)),
        ("everything removed", Vec::clear, Breach::Nothing),
    ];
    for (name, change, want) in cases {
        let dir = TempDir::new();
        let file = written(&dir);
        check(&[&file]).unwrap();
        edit(&file, change);
        let broken = check(&[&file]).unwrap_err();
        assert_eq!(broken.what, want, "{name}");
        assert_eq!(broken.file, "audit.log");
    }
}

fn another_hash(lines: &mut [String]) {
    let at = lines[10].len() - 3;
    let other = if &lines[10][at - 5..=at - 5] == "A" { "B" } else { "A" };
    lines[10].replace_range(at - 5..=at - 5, other);
}

/// What somebody who can write the file, but has no key, makes of it.
fn forge(file: &Path, keep_seals: bool) {
    edit(file, |lines| {
        let mut out = Vec::new();
        let mut head = Head::default();
        for line in lines.iter() {
            let end = line.rfind(",\"seq\":").unwrap();
            let record = line[..end].replace("/8\"", "/9\"") + "}";
            if keep_seals || !record.contains("audit.sealed") {
                head = head.link(record.as_bytes(), &mut out);
            }
        }
        *lines = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    });
}

#[test]
fn who_computes_the_whole_chain_anew_lacks_the_key() {
    let dir = TempDir::new();
    let file = written(&dir);
    forge(&file, true);
    let Breach::Seal { good, .. } = check(&[&file]).unwrap_err().what else { panic!("a forged chain") };
    assert_eq!(good, 1, "the seal of the beginning still fits");
    let dir = TempDir::new();
    let file = written(&dir);
    forge(&file, false);
    assert_eq!(check(&[&file]).unwrap_err().what, Breach::Unsealed(1), "and without seals nothing is believed");
}

#[test]
fn another_key_is_another_chain() {
    let dir = TempDir::new();
    let file = written(&dir);
    let demands = |seed: u8| Demands { key: Some(SealingKey::new(&Secret::new([seed; 32])).unwrap().public()), anchor: None };
    check_with(&[&file], &demands(7)).unwrap();
    assert_eq!(check_with(&[&file], &demands(8)).unwrap_err().what, Breach::Key(1));
    let other = Arc::new(SealingKey::new(&Secret::new([8; 32])).unwrap());
    Log::file(&file, other, Vec::new(), clock()).unwrap().close();
    assert!(matches!(check(&[&file]).unwrap_err().what, Breach::Key(_)));
}

#[test]
fn an_end_that_was_cut_off_is_seen_by_what_was_kept_elsewhere() {
    let dir = TempDir::new();
    let file = dir.path().join("audit.log");
    let log = open(&file);
    record(&log, "/a");
    wait_for(|| fs::read_to_string(&file).unwrap().matches("audit.sealed").count() == 2);
    record(&log, "/b");
    log.close();
    let whole = check(&[&file]).unwrap();
    let anchor = Head { sequence: whole.last, hash: octets(&whole.hash).unwrap() };
    let noted = Demands { key: None, anchor: Some(anchor) };
    check_with(&[&file], &noted).unwrap();
    edit(&file, |lines| lines.truncate(lines.len() - 2));
    assert_eq!(check(&[&file]).unwrap_err().what, Breach::CutOff(whole.last - 1, whole.last), "the seal beside it");
    fs::remove_file(seal_of(&file)).unwrap();
    assert_eq!(check_with(&[&file], &noted).unwrap_err().what, Breach::CutOff(whole.last - 1, whole.last), "a note");
    check(&[&file]).unwrap();
    let wrong = Demands { key: None, anchor: Some(Head { sequence: 2, hash: [0; 32] }) };
    assert_eq!(check_with(&[&file], &wrong).unwrap_err().what, Breach::Anchor(2));
}

#[test]
fn a_process_that_finds_the_end_cut_off_says_so_in_the_next_record() {
    let dir = TempDir::new();
    let file = dir.path().join("audit.log");
    let log = open(&file);
    record(&log, "/a");
    log.close();
    edit(&file, |lines| lines.truncate(lines.len() - 2));
    open(&file).close();
    let text = fs::read_to_string(&file).unwrap();
    let opened: Vec<Recorded> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let missing = |record: &Recorded| matches!(record.event, Event::AuditOpened { missing: 2, .. });
    assert!(opened.iter().any(missing), "{text}");
}

#[test]
fn lines_of_a_program_that_knew_no_chain_are_counted_as_unprotected() {
    let dir = TempDir::new();
    let file = dir.path().join("audit.log");
    fs::write(&file, [line::write(&decided("/old")).unwrap(), line::write(&decided("/older")).unwrap()].concat()).unwrap();
    let log = open(&file);
    record(&log, "/new");
    log.close();
    let found = check(&[&file]).unwrap();
    assert_eq!((found.unprotected, found.first), (2, 1), "{found:?}");
}

#[test]
fn seals_are_told_to_the_other_places() {
    let dir = TempDir::new();
    let (file, other) = (dir.path().join("audit.log"), dir.path().join("other"));
    let told =
        Arc::new(Log::start("stdout", Plain(append(&other).unwrap()), Limits { close_at: 1 << 20, most: 1 << 20 }, clock()).unwrap());
    let log = Log::file(&file, key(), vec![told.clone()], clock()).unwrap();
    record(&log, "/a");
    log.close();
    told.close();
    let text = fs::read_to_string(&other).unwrap();
    assert!(text.lines().count() >= 2 && text.lines().all(|line| line.contains("audit.sealed")), "{text}");
}
