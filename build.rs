//! Link flags of the extension, and what `phpinfo()` says of the build.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    // The writer's thread may outlive a bounded join at shutdown; unmapping its code under
    // it would crash the process.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=WRITE_BUFFER_REVISION");
    let profile = env::var("PROFILE").unwrap_or_default();
    // Sources without a repository (a release's archive) say it by the environment, or not at all.
    let revision = env::var("WRITE_BUFFER_REVISION").ok();
    let revision = revision.filter(|r| !r.is_empty()).or_else(revision_of_git);
    say("REVISION", revision.as_deref().unwrap_or("unknown"));
    // What others are handed is rebuilt when the revision moves; the tests' build is not.
    if profile == "release" {
        for file in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--git-path", file]);
            if let Some(path) = path.filter(|p| Path::new(p).exists()) {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    say("PROFILE", &profile);
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = output(&rustc, &["--version"]).unwrap_or_default();
    say("RUSTC", &rustc);
    say("TARGET", &env::var("TARGET").unwrap_or_default());
}

fn say(name: &str, value: &str) {
    println!("cargo:rustc-env=WRITE_BUFFER_{name}={value}");
}

/// The commit of these sources; not of a repository that they only lie in.
fn revision_of_git() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).canonicalize();
    if Path::new(&top).canonicalize().ok()? != here.ok()? {
        return None;
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    output("git", arguments)
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}
