//! The command `portvakt`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request asks for memory a few dozen times, and much of it is given back by another thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    portvakt::cli::main()
}
