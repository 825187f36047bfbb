//! What is around when growth is measured: rules and routes.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::Failure;
use crate::contender::Size;

/// Adds rules and routes to a copy of the shipped set. Every rule is about reading a project, so
/// that each has a say in what is measured; no one has the role that it asks for.
pub fn policies(folder: &Path, size: &Size) -> Result<(), Failure> {
    let mut rules = String::new();
    for number in 0..size.rules {
        write!(
            rules,
            "\npermit (principal, action == Action::\"read\", resource is Project) when {{\n  \
             principal.company == resource.company && principal.roles.contains(\"crew-{number}\")\n}};\n"
        )?;
    }
    append(&folder.join("projects.cedar"), &rules)?;
    let mut routes = String::new();
    for number in 0..size.routes {
        write!(
            routes,
            "\n[[route]]\nmatch = \"GET /hall-{number}/{{project}}/**\"\naction = \"read\"\n"
        )?;
    }
    append(&folder.join("routes.toml"), &routes)
}

fn append(file: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new().append(true).open(file)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
