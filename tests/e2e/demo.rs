//! `deploy/demo` as a newcomer meets it: run as an ordinary user, ended by its own account or by a signal, and gone
//! afterwards with everything that it started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use support::curl::Curl;
use support::place::Place;
use support::process::Process;
use support::wait;

/// Some user that owns nothing.
const NOBODY: u32 = 65534;
/// Far above what it takes: the machine may build something else at the same time.
const LIMIT: Duration = Duration::from_secs(120);

/// A demo with a folder for temporary files of its own, so that leftovers show.
struct Demo {
    process: Process,
    dir: tempfile::TempDir,
    scratch: PathBuf,
}

impl Demo {
    /// The built binary, as nobody in particular.
    fn start(options: &[&str]) -> Self {
        let dir = readable_dir();
        // Where the sources are, an ordinary user may not be let in.
        for name in ["demo", "inner-world", "edge-e", "edge-c"] {
            let built = support::pair::binary(name).unwrap();
            fs::copy(built, dir.path().join(name)).unwrap();
        }
        let mut command = Command::new(dir.path().join("demo"));
        command.args(options).uid(NOBODY).gid(NOBODY);
        Self::run(command, dir)
    }

    /// `deploy/demo` itself, as whoever runs the tests, but without the build: that would change the binaries under the
    /// tests that run at the same time. `tests/run` runs it with the build.
    fn start_script(options: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let built = support::pair::binary("demo").unwrap();
        let mut command = Command::new(root.join("deploy/demo"));
        command.arg("--no-build").args(options);
        command.env("CARGO_TARGET_DIR", built.ancestors().nth(2).unwrap());
        Self::run(command, readable_dir())
    }

    fn run(mut command: Command, dir: tempfile::TempDir) -> Self {
        let scratch = dir.path().join("tmp");
        fs::create_dir(&scratch).unwrap();
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o777)).unwrap();
        command.env("TMPDIR", &scratch).current_dir("/");
        let process = Process::spawn("demo", command, &dir.path().join("demo.log")).unwrap();
        Self {
            process,
            dir,
            scratch,
        }
    }

    fn output(&self) -> String {
        self.process.log().unwrap()
    }

    fn wait_output(&self, wanted: &str) -> String {
        wait::until(wanted, LIMIT, || {
            let output = self.output();
            Ok(output.contains(wanted).then_some(output))
        })
        .unwrap()
    }

    /// Waits for its end, and checks that nothing of it is left.
    fn wait_exit(&mut self) -> std::process::ExitStatus {
        let status = self.process.wait_exit(LIMIT).unwrap();
        let left: Vec<_> = processes_below(self.dir.path(), &self.scratch);
        assert!(left.is_empty(), "{left:?}\n{}", self.output());
        assert_eq!(fs::read_dir(&self.scratch).unwrap().count(), 0);
        status
    }
}

fn readable_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// The command lines of processes that name one of the folders.
fn processes_below(dir: &Path, scratch: &Path) -> Vec<String> {
    let folders = [dir, scratch].map(|path| path.to_string_lossy().into_owned());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| folders.iter().any(|folder| line.contains(folder)))
        .collect()
}

fn last_line(output: &str) -> &str {
    output.lines().last().unwrap_or_default()
}

fn assert_every_step_passed(output: &str) {
    let summary = last_line(output);
    let (steps, rest) = summary
        .strip_prefix("demo: ")
        .and_then(|rest| rest.split_once(" steps passed in "))
        .ok_or(output)
        .unwrap();
    let shown = output
        .lines()
        .filter(|line| line.contains("  passed "))
        .count();
    assert_eq!(steps.parse(), Ok(shown), "{output}");
    assert!(shown >= 15 && rest.ends_with(" s"), "{output}");
}

#[test]
fn the_script_shows_a_whole_sign_in_and_leaves_nothing_behind() {
    let mut demo = Demo::start_script(&[]);

    let status = demo.wait_exit();

    assert_eq!(status.code(), Some(0), "{}", demo.output());
    assert_every_step_passed(&demo.output());
}

#[test]
fn an_ordinary_user_can_run_two_at_a_time() {
    let mut demos = [Demo::start(&[]), Demo::start(&[])];

    for demo in &mut demos {
        let status = demo.wait_exit();
        assert_eq!(status.code(), Some(0), "{}", demo.output());
        assert_every_step_passed(&demo.output());
    }
}

#[test]
fn what_it_says_to_try_works_until_it_is_told_to_stop() {
    let mut demo = Demo::start(&["--keep"]);
    let output = demo.wait_output("To stop:");
    let tried = |wanted: &str| {
        let line = output.lines().find(|line| line.contains(wanted));
        line.ok_or(wanted).unwrap().to_owned()
    };
    // The function, then the lines that use it.
    let script = format!(
        "set -eu\n{}\n{}\n{}\n{}\n",
        tried("edge() {"),
        tried("edge -i -u"),
        tried("size_download"),
        tried("to allow it")
    );
    let ran = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{script}\n{ran:?}");
    for wanted in ["getEdgeConfigResponse", "200 143 bytes", "403", "match = "] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let status = tried("/status");
    let url = status
        .split_whitespace()
        .find(|word| word.starts_with("http"))
        .unwrap();
    assert_eq!(Curl::new(&Place::Host).get(url).unwrap().status, 200);

    demo.process.signal(Signal::INT).unwrap();

    assert_eq!(demo.wait_exit().code(), Some(0));
    assert_every_step_passed(&demo.output());
}

#[test]
fn a_signal_in_the_middle_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]);
    demo.wait_output("start the inner world");

    demo.process.signal(Signal::TERM).unwrap();

    assert_eq!(demo.wait_exit().code(), Some(1), "{}", demo.output());
    assert!(last_line(&demo.output()).starts_with("demo: FAILED"));
}

#[test]
fn the_real_peers_pass_too() {
    let mut demo = Demo::start_script(&["--real"]);

    let status = demo.wait_exit();

    assert_eq!(status.code(), Some(0), "{}", demo.output());
    assert_every_step_passed(&demo.output());
}

#[test]
fn real_peers_without_root_and_wrong_arguments_are_refused_with_a_reason() {
    let mut demo = Demo::start(&["--real"]);
    demo.process.wait_exit(LIMIT).unwrap();
    assert!(demo.output().contains("needs root"), "{}", demo.output());

    let mut demo = Demo::start_script(&["--fast"]);
    assert_eq!(demo.wait_exit().code(), Some(64));
    assert!(demo.output().contains("--fast"), "{}", demo.output());
}
