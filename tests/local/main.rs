//! The local stack at the command line: `make demo`, `make local`, `make cloud`, `make rotate`, `make bench`.

mod bench;
mod command_line;
mod demo;
mod screen;
mod stack;

use std::process::ExitCode;

use anyhow::{Result, bail};
use command_line::{Arguments, Command, USAGE};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    // Dropped by a signal or an error, the stack takes everything it started down.
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyturn-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let mut terminated = signal(SignalKind::terminate())?;
    let work = async {
        match arguments.command {
            Command::Demo => demo::run(&arguments).await,
            Command::Local => stack::run(&arguments).await,
            Command::Cloud => stack::cloud(&arguments).await,
            Command::Rotate => stack::rotate(arguments.secret.as_deref().unwrap_or(stack::NAME)).await,
            Command::Bench => bench::run(&arguments).await,
            Command::Help => {
                println!("{USAGE}");
                Ok(())
            }
        }
    };
    tokio::select! {
        result = work => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            stopped(&arguments)
        }
        _ = terminated.recv() => stopped(&arguments),
    }
}

/// A signal is how `local` and `cloud` end, and an interruption of everything else.
fn stopped(arguments: &Arguments) -> Result<()> {
    if matches!(arguments.command, Command::Local | Command::Cloud) {
        println!("\nstopped: nothing is left running");
        return Ok(());
    }
    bail!("interrupted")
}
