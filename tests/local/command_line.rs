//! What the program is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keyturn_tests::rotator::built;
use keyturn_tests::stacks::postgres::Latency;

pub(crate) const USAGE: &str = "usage: keyturn-local demo|local|cloud|rotate|bench [options]
  --functions FOLDER where the binaries of the functions are (default: beside this program)
  --postgres MAJOR   PostgreSQL's major version (default: 18)
  --features LIST    cargo features for the command that `local` prints for rotate-postgres
  --only FUNCTION    the one function that `bench` measures (default: all)
  --aws-ms N         `bench` lets each call of AWS by rotate-postgres take this many milliseconds longer
  --database-ms N    `bench` lets each round trip of rotate-postgres to its database take this many milliseconds
  --secret NAME      what `rotate` rotates: shop, at PostgreSQL (default), or reports, at Atlas";

/// The functions that `bench` measures.
const FUNCTIONS: [&str; 4] = ["rotate-postgres", "rotate-mongo", "oncall-sync", "break-glass"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Rotates under load, plays a day of break-glass, and shows both.
    Demo,
    Local,
    /// Keeps the packaged functions deployed in a local AWS.
    Cloud,
    /// Asks the stack that is kept up for a rotation.
    Rotate,
    Bench,
    /// Says how to call it.
    Help,
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub command: Command,
    /// The folder of the functions' binaries, unless it is this program's.
    pub functions: Option<PathBuf>,
    pub postgres: u32,
    /// Cargo features that building rotate-postgres takes here.
    pub features: Option<String>,
    /// The secret to rotate, unless it is the usual one.
    pub secret: Option<String>,
    /// The one function to measure, unless it is all.
    pub only: Option<String>,
    /// How far away `bench` puts AWS and the database.
    pub latency: Latency,
}

impl Arguments {
    /// Reads the words that follow the program's name.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let command = match words.next().as_deref() {
            Some("demo") => Command::Demo,
            Some("local") => Command::Local,
            Some("cloud") => Command::Cloud,
            Some("rotate") => Command::Rotate,
            Some("bench") => Command::Bench,
            Some("help" | "--help" | "-h") => Command::Help,
            Some(other) => bail!("unknown command {other}\n{USAGE}"),
            None => bail!("what shall be done?\n{USAGE}"),
        };
        let mut arguments = Self {
            command,
            functions: None,
            postgres: 18,
            features: None,
            secret: None,
            only: None,
            latency: Latency::default(),
        };
        while let Some(option) = words.next() {
            let value = words.next().with_context(|| format!("{option} has no value\n{USAGE}"))?;
            match option.as_str() {
                "--functions" => arguments.functions = Some(value.into()),
                "--postgres" => {
                    arguments.postgres = value.parse().with_context(|| format!("{value} is no major version"))?;
                }
                "--features" => arguments.features = Some(value),
                "--only" if FUNCTIONS.contains(&value.as_str()) => arguments.only = Some(value),
                "--only" => bail!("{value} is none of {}", FUNCTIONS.join(", ")),
                "--aws-ms" => arguments.latency.aws = milliseconds(&value)?,
                "--database-ms" => arguments.latency.database = milliseconds(&value)?,
                "--secret" => arguments.secret = Some(value),
                _ => bail!("unknown option {option}\n{USAGE}"),
            }
        }
        Ok(arguments)
    }

    /// The binary of the function of this name.
    pub(crate) fn function(&self, name: &str) -> Result<PathBuf> {
        self.functions.as_ref().map_or_else(|| built(name), |folder| Ok(folder.join(name)))
    }
}

fn milliseconds(value: &str) -> Result<Duration> {
    Ok(Duration::from_millis(value.parse().with_context(|| format!("{value} is no number of milliseconds"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_a_command_and_its_options() {
        let arguments = read("demo --functions target/release --postgres 13").unwrap();
        assert_eq!(arguments.command, Command::Demo);
        assert_eq!(arguments.function("oncall-sync").unwrap(), PathBuf::from("target/release/oncall-sync"));
        assert_eq!(arguments.postgres, 13);
    }

    #[test]
    fn says_what_it_does_not_understand() {
        for (line, problem) in [
            ("", "what shall be done"),
            ("dance", "unknown command dance"),
            ("demo --slowly 1", "unknown option --slowly"),
            ("demo --postgres", "--postgres has no value"),
            ("demo --postgres new", "new is no major version"),
            ("bench --only postgres", "postgres is none of rotate-postgres, rotate-mongo, oncall-sync, break-glass"),
            ("bench --aws-ms soon", "soon is no number of milliseconds"),
        ] {
            assert!(read(line).unwrap_err().to_string().contains(problem), "{line}");
        }
    }
}
