//! Watches the configuration and the files it names, and listens for SIGHUP.
//!
//! Directories are watched rather than files: editors, secret managers and container platforms replace a file,
//! or a link on its way, and a watch on the file itself would hold on to what is gone. What decides is whether the
//! files differ from those last seen.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long files must rest before they are read: several are often written one after the other.
const QUIET: Duration = Duration::from_millis(200);
/// How often a rest is waited for before the files are read all the same.
const PATIENCE: u32 = 25;

/// Why to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody sent SIGHUP; log files are opened anew, too.
    Signal,
    /// A file changed.
    File,
}

/// A watch over files.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
    hangup: Signal,
    seen: BTreeMap<PathBuf, Option<Mark>>,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Begins to watch. Must be called within a runtime. To miss nothing, begin with the configuration alone before
    /// it is read, and [`Watch::follow`] what it names afterwards.
    ///
    /// # Errors
    /// When signals or directories cannot be watched.
    pub fn new<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, String> {
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        // Errors, such as an overflowing queue, mean that something may have changed.
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| tell.notify_one())
            .map_err(|why| format!("files cannot be watched: {why}"))?;
        let hangup = signal(SignalKind::hangup()).map_err(|why| format!("SIGHUP cannot be received: {why}"))?;
        let mut watch = Self { watcher, directories: BTreeSet::new(), changed, hangup, seen: BTreeMap::new() };
        watch.follow(files)?;
        Ok(watch)
    }

    /// Watches these files from now on. New ones are taken as they are now; one that changed since it was last
    /// looked at, while the configuration was being read, will still be a reason to reload.
    ///
    /// # Errors
    /// When a directory cannot be watched; the others are.
    pub fn follow<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) -> Result<(), String> {
        let mut seen = std::mem::take(&mut self.seen);
        self.seen = files.into_iter().map(|file| (file.to_owned(), seen.remove(file).unwrap_or_else(|| mark(file)))).collect();
        let wanted: BTreeSet<PathBuf> = self.seen.keys().map(|file| directory(file)).collect();
        for gone in self.directories.difference(&wanted) {
            // A directory that was removed is no longer watched anyway.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched: BTreeSet<PathBuf> = self.directories.intersection(&wanted).cloned().collect();
        let mut failure = Ok(());
        for directory in wanted.difference(&self.directories) {
            match self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(directory.clone())),
                Err(why) => failure = Err(format!("`{}` cannot be watched: {why}", directory.display())),
            }
        }
        self.directories = watched;
        failure
    }

    /// Waits for a reason to reload. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Cause {
        loop {
            tokio::select! {
                hangup = self.hangup.recv() => match hangup {
                    Some(()) => {
                        self.look();
                        return Cause::Signal;
                    }
                    // INVARIANT: the runtime keeps its signals for as long as it lives; never busy if it did not.
                    None => std::future::pending().await,
                },
                () = self.changed.notified() => {
                    for _ in 0..PATIENCE {
                        if timeout(QUIET, self.changed.notified()).await.is_err() {
                            break;
                        }
                    }
                    if self.look() {
                        return Cause::File;
                    }
                }
            }
        }
    }

    /// Whether some file is not what it was.
    fn look(&mut self) -> bool {
        let mut differs = false;
        for (file, seen) in &mut self.seen {
            let now = mark(file);
            differs |= now != *seen;
            *seen = now;
        }
        differs
    }
}

/// Calls `reload` for every reason to. It answers which files to watch from then on; `None`, after a failure,
/// means the same as before. Never returns.
pub async fn run(mut watch: Watch, mut reload: impl FnMut(Cause) -> BoxFuture<'static, Option<Vec<PathBuf>>>) {
    loop {
        let cause = watch.next().await;
        if let Some(files) = reload(cause).await
            && let Err(why) = watch.follow(files.iter().map(PathBuf::as_path))
        {
            tracing::warn!(why, "some changes of the configuration will go unnoticed until SIGHUP");
        }
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let about = std::fs::metadata(file).ok()?;
    Some(Mark {
        device: about.dev(),
        inode: about.ino(),
        length: about.len(),
        modified: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any machine needs; a failure waits for it once.
    const LONG: Duration = Duration::from_secs(10);

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vestibule-reload-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The next change of a file: the signal of a neighbouring test comes to everybody in the process.
    async fn change(watch: &mut Watch) {
        while watch.next().await != Cause::File {}
    }

    #[tokio::test]
    async fn a_written_and_a_replaced_file_are_both_seen() {
        let folder = folder("replaced");
        let file = folder.join("vestibule.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new([file.as_path()]).unwrap();

        std::fs::write(&file, "bb").unwrap();
        timeout(LONG, change(&mut watch)).await.unwrap();

        let other = folder.join("new");
        std::fs::write(&other, "ccc").unwrap();
        std::fs::rename(&other, &file).unwrap();
        timeout(LONG, change(&mut watch)).await.unwrap();

        std::fs::remove_file(&file).unwrap();
        timeout(LONG, change(&mut watch)).await.unwrap();
    }

    #[tokio::test]
    async fn a_neighbour_is_not_a_change() {
        let folder = folder("neighbour");
        let (file, neighbour) = (folder.join("vestibule.toml"), folder.join("audit.jsonl"));
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new([file.as_path()]).unwrap();
        std::fs::write(&neighbour, "x").unwrap();
        assert!(timeout(QUIET * 4, change(&mut watch)).await.is_err());
        watch.follow([neighbour.as_path()]).unwrap();
        std::fs::write(&neighbour, "xy").unwrap();
        timeout(LONG, change(&mut watch)).await.unwrap();
    }

    #[tokio::test]
    async fn a_signal_reloads_and_new_files_are_followed() {
        let folder = folder("signal");
        let (first, second) = (folder.join("first"), folder.join("second"));
        std::fs::write(&first, "a").unwrap();
        std::fs::write(&second, "a").unwrap();
        let watch = Watch::new([first.as_path()]).unwrap();
        let (tell, mut told) = tokio::sync::mpsc::channel(4);
        let now_follow = second.clone();
        let running = tokio::spawn(run(watch, move |cause| {
            let (tell, now_follow) = (tell.clone(), now_follow.clone());
            Box::pin(async move {
                let _ = tell.send(cause).await;
                Some(vec![now_follow])
            })
        }));
        let hangup = std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status().unwrap();
        assert!(hangup.success());
        assert_eq!(timeout(LONG, told.recv()).await, Ok(Some(Cause::Signal)));
        // The new files are followed just after the reload has told us.
        tokio::time::sleep(QUIET).await;
        std::fs::write(&second, "bb").unwrap();
        assert_eq!(timeout(LONG, told.recv()).await, Ok(Some(Cause::File)));
        running.abort();
    }
}
