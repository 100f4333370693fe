//! Link flags of the extension, and what `phpinfo()` says of the build.

use std::process::Command;

fn main() {
    // The writer's thread may outlive a bounded join at shutdown; unmapping its code under
    // it would crash the process.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=.git/HEAD");
    let revision = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let revision = revision
        .ok()
        .filter(|o| o.status.success())
        .map(|o| o.stdout);
    let revision = revision.and_then(|bytes| String::from_utf8(bytes).ok());
    let revision = revision.as_deref().map_or("unknown", str::trim);
    println!("cargo:rustc-env=WRITE_BUFFER_REVISION={revision}");
    let profile = std::env::var("PROFILE").unwrap_or_default();
    println!("cargo:rustc-env=WRITE_BUFFER_PROFILE={profile}");
}
