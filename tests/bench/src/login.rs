//! Logging in to Portvakt as a program does, with the code from the outbox, over curl.

use std::process::Command;

use crate::Failure;
use crate::contender::Ground;

/// A session's cookie, as `name=value`.
pub fn log_in(ground: &Ground, port: u16, admin: u16) -> Result<String, Failure> {
    let jar = ground.folder.join("cookies");
    let _ = std::fs::remove_file(&jar);
    let base = format!("https://localhost:{port}/.portvakt");
    let curl = |address: &str, body: &str| -> Result<String, Failure> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--insecure"])
            .arg("--cookie")
            .arg(&jar)
            .arg("--cookie-jar")
            .arg(&jar)
            .args(["--header", "content-type: application/json"])
            .args(["--header", "accept: application/json"])
            .args(["--data", body])
            .arg(address)
            .output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    };
    curl(
        &format!("{base}/login"),
        r#"{"email":"kari@fjord.example","next":"/"}"#,
    )?;
    let code = code(admin)?;
    curl(&format!("{base}/code"), &format!(r#"{{"code":"{code}"}}"#))?;
    let jar = std::fs::read_to_string(&jar)?;
    let value = jar.lines().find_map(|line| {
        let mut fields = line.split('\t').skip(5);
        (fields.next() == Some("__Host-portvakt")).then(|| fields.next())?
    });
    let value = value.ok_or("no session came of the login")?;
    Ok(format!("__Host-portvakt={value}"))
}

/// The last code in the outbox, once it is there.
fn code(admin: u16) -> Result<String, Failure> {
    for _ in 0..100 {
        let outbox = Command::new("curl")
            .args(["--silent", "--header", "accept: application/json"])
            .arg(format!("http://127.0.0.1:{admin}/outbox"))
            .output()?;
        let outbox = String::from_utf8(outbox.stdout)?;
        let mut runs = outbox.split(|c: char| !c.is_ascii_digit());
        if let Some(code) = runs.find(|run| run.len() == 4) {
            return Ok(code.to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err("no code came to the outbox".into())
}
