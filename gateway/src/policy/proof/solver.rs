//! The solver's process: asked over its pipes, bounded in time and memory, ended for certain.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cedar_policy_symcc::SmtLibScript;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver, SolverError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Most memory that the solver may ask for, in KiB as the shell counts it.
const MEMORY_KIB: &str = "2097152";

/// Most bytes of one line of an answer, and of a whole counterexample.
const MOST: u64 = 4 << 20;

/// A solver at work.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Where a solver is: a path as it stands, a bare name as the shell would find it.
pub(super) fn locate(solver: &Path) -> Option<PathBuf> {
    if solver.components().count() > 1 {
        return solver.is_file().then(|| solver.to_owned());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(solver))
        .find(|file| file.is_file())
}

impl Process {
    /// Starts a solver. It sees nothing of the gateway's environment, where secrets may be.
    pub(super) fn start(solver: &Path, limit: Duration) -> io::Result<Self> {
        // The shell is there for its `ulimit`, and gives way to the solver.
        let shell = Path::new("/bin/sh");
        let mut command = if shell.is_file() {
            let mut command = Command::new(shell);
            command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY_KIB]);
            command.arg(solver);
            command
        } else {
            Command::new(solver)
        };
        let mut child = command
            .args(["--lang", "smt", "--tlimit"])
            .arg(limit.as_millis().to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("the solver has no pipes");
        Ok(Self {
            input: BufWriter::new(child.stdin.take().ok_or_else(gone)?),
            output: BufReader::new(child.stdout.take().ok_or_else(gone)?),
            child,
        })
    }

    /// Ends the process, whatever it is at, and waits until it is gone.
    pub(super) async fn end(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the solver could not be ended");
        }
    }

    /// The next line of its answer, without its end.
    async fn line(&mut self) -> Result<String, SolverError> {
        let mut line = String::new();
        let mut bounded = (&mut self.output).take(MOST);
        bounded.read_line(&mut line).await?;
        if !line.ends_with('\n') {
            return Err(SolverError::Solver("it ended without an answer".to_owned()));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Solver for Process {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.input
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        let input = self.smtlib_input();
        Ok(input.set_option("produce-models", "true").await?)
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        self.smtlib_input().check_sat().await?;
        self.input.flush().await?;
        match self.line().await?.as_str() {
            "sat" => Ok(Decision::Sat),
            "unsat" => Ok(Decision::Unsat),
            "unknown" => Ok(Decision::Unknown),
            other => Err(SolverError::UnrecognizedSolverOutput(other.to_owned())),
        }
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        match self.check_sat().await? {
            Decision::Unsat => return Ok(DecisionWithModel::Unsat),
            Decision::Unknown => return Ok(DecisionWithModel::Unknown),
            Decision::Sat => {}
        }
        self.smtlib_input().get_model().await?;
        self.input.flush().await?;
        let mut model = String::new();
        // An answer opens with a line `(` and closes with a line `)`.
        loop {
            let line = self.line().await?;
            let first = model.is_empty();
            if first && line != "(" {
                return Err(SolverError::UnrecognizedSolverOutput(line));
            }
            model.push_str(&line);
            model.push('\n');
            if line == ")" {
                return Ok(DecisionWithModel::Sat { model });
            }
            if model.len() as u64 > MOST {
                let message = "its counterexample is too long".to_owned();
                return Err(SolverError::Solver(message));
            }
        }
    }
}
