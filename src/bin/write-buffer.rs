//! `write-buffer`: looks at, checks, and writes out the journals of WriteBuffer.

#[cfg(feature = "php")]
compile_error!(
    "the program is linked without PHP: cargo build --no-default-features --features cli --bin write-buffer"
);

fn main() -> std::process::ExitCode {
    write_buffer::cli::main()
}
