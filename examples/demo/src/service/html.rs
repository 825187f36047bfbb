//! The pages for people: plain HTML, one style sheet, no script.

use std::borrow::Cow;
use std::fmt::Write;

use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};

use super::input::{Caller, Refused};
use super::model::{Project, Task};

/// The style sheet.
pub(super) async fn style() -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=300"),
        ],
        include_str!("style.css"),
    )
        .into_response()
}

/// The list of projects, and a form for one more.
pub(super) fn projects(caller: &Caller, projects: &[Project]) -> Response {
    let cards: String = projects.iter().fold(String::new(), |cards, project| {
        cards + &card(caller, project)
    });
    let cards = if cards.is_empty() {
        "<p class=\"quiet\">There are no projects yet.</p>".to_owned()
    } else {
        format!("<ul class=\"cards\">{cards}</ul>")
    };
    let content = format!(
        r#"<h1>Projects</h1>
{cards}
<section class="panel" aria-labelledby="new">
<h2 id="new">New project</h2>
<form method="post" action="/projects">
<label for="name">Name</label>
<input id="name" name="name" required maxlength="200" autocomplete="off">
<label for="description">Description</label>
<textarea id="description" name="description" rows="3" maxlength="4000"></textarea>
<button class="primary">Create project</button>
</form>
</section>"#
    );
    page(StatusCode::OK, caller, "Projects", &content)
}

fn card(caller: &Caller, project: &Project) -> String {
    format!(
        r#"<li class="card">
<h2><a href="/projects/{id}">{name}</a></h2>
<p>{description}</p>
{tags}
</li>
"#,
        id = escape(&project.id),
        name = escape(&project.name),
        description = escape(&project.description),
        tags = tags(caller, project),
    )
}

fn tags(caller: &Caller, project: &Project) -> String {
    let yours = if caller.user.as_ref() == Some(&project.owner_id) {
        r#"<span class="tag yours">yours</span> "#
    } else {
        ""
    };
    format!(
        r#"<p class="tags">{yours}<span class="tag">owner {owner}</span> <span class="tag">company {company}</span></p>"#,
        owner = escape(&project.owner_id),
        company = escape(&project.company_id),
    )
}

/// One project: what it is, its tasks, and forms to change and to copy it.
pub(super) fn project(caller: &Caller, project: &Project, tasks: &[Task]) -> Response {
    let content = format!(
        r#"<p class="back"><a href="/projects">All projects</a></p>
<div class="title">
<h1>{name}</h1>
<form method="post" action="/projects/{id}/copy"><button id="copy">Copy</button></form>
</div>
{tags}
<p class="description">{description}</p>
<section class="panel" id="tasks" aria-labelledby="tasks-title">
<h2 id="tasks-title">Tasks</h2>
{tasks}
<form class="row" method="post" action="/projects/{id}/tasks">
<label for="title">New task</label>
<input id="title" name="title" required maxlength="200" autocomplete="off">
<button>Add task</button>
</form>
</section>
<section class="panel" aria-labelledby="edit">
<h2 id="edit">Edit project</h2>
<form method="post" action="/projects/{id}">
<label for="name">Name</label>
<input id="name" name="name" required maxlength="200" autocomplete="off" value="{name}">
<label for="description">Description</label>
<textarea id="description" name="description" rows="4" maxlength="4000">
{description}</textarea>
<button class="primary" id="save">Save</button>
</form>
</section>"#,
        id = escape(&project.id),
        name = escape(&project.name),
        description = escape(&project.description),
        tags = tags(caller, project),
        tasks = task_list(tasks),
    );
    page(StatusCode::OK, caller, &project.name, &content)
}

fn task_list(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return "<p class=\"quiet\">Nothing to do.</p>".to_owned();
    }
    let mut list = String::from("<ul class=\"tasks\">\n");
    for task in tasks {
        let (class, other, verb) = if task.done {
            ("done", false, "Reopen")
        } else {
            ("open", true, "Done")
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            list,
            r#"<li class="{class}"><span class="what">{title}</span>
<form method="post" action="/projects/{project}/tasks/{id}"><input type="hidden" name="done" value="{other}"><button aria-label="{verb}: {title}">{verb}</button></form></li>"#,
            title = escape(&task.title),
            project = escape(&task.project_id),
            id = escape(&task.id),
        );
    }
    list + "</ul>"
}

/// Why a request was not served.
pub(super) fn refused(caller: &Caller, refused: &Refused) -> Response {
    let title = refused.status.canonical_reason().unwrap_or("Not served");
    let content = format!(
        r#"<h1>{title}</h1>
<p>{text}.</p>
<p class="back"><a href="/projects">All projects</a></p>"#,
        title = escape(title),
        text = escape(&refused.text),
    );
    page(refused.status, caller, title, &content)
}

fn page(status: StatusCode, caller: &Caller, title: &str, content: &str) -> Response {
    let who = match (&caller.user, &caller.company) {
        (Some(user), Some(company)) => format!(
            "You are <strong>{}</strong> of <strong>{}</strong>",
            escape(user),
            escape(company)
        ),
        (Some(user), None) => format!("You are <strong>{}</strong>", escape(user)),
        _ => "Nobody said who you are".to_owned(),
    };
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Projects</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><a class="brand" href="/projects">Projects</a><p id="who">{who}</p></header>
<main>
{content}
</main>
</body>
</html>
"#,
        title = escape(title),
    );
    (status, Html(page)).into_response()
}

/// Text as it may stand in an element or in a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape(r#"<b a="x" b='y'>&amp;"#),
            "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;"
        );
        assert_eq!(escape("plain"), "plain");
    }
}
