//! What the service knows: projects and their tasks, in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// How many projects, and how many tasks, there may be: the service lives in memory.
const CAPACITY: usize = 10_000;

/// A project of a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// `"1"`, `"2"` …
    pub id: String,
    /// One line.
    pub name: String,
    /// Any number of lines.
    pub description: String,
    /// The company that it belongs to; never changes.
    pub company_id: String,
    /// The user whose it is; never changes.
    pub owner_id: String,
}

/// Something to be done in a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// `"1"`, `"2"` …, unique over all projects.
    pub id: String,
    /// The project that it stands in.
    pub project_id: String,
    /// One line.
    pub title: String,
    /// Whether it is done.
    pub done: bool,
}

/// Whose a new project is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// The user.
    pub(super) user: &'a str,
    /// The user's company.
    pub(super) company: &'a str,
}

/// Why the model did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such project or task.
    Unknown,
    /// There are as many as there may be.
    Full,
}

/// Projects and tasks.
#[derive(Debug)]
pub(super) struct Model {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each project in the channel that tells of its changes.
    projects: BTreeMap<u64, watch::Sender<Project>>,
    tasks: BTreeMap<u64, Task>,
    last_project: u64,
    last_task: u64,
}

impl Model {
    /// The model as it is at start: two projects of `fjord`, one of `tinde`.
    #[must_use]
    pub(super) fn seeded() -> Self {
        let mut inner = Inner::default();
        for (user, company, name, description, tasks) in SEED {
            let number = inner.insert(name, description, Owner { user, company });
            for (title, done) in *tasks {
                inner.insert_task(number, title, *done);
            }
        }
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// All projects, or those of one company, by number.
    #[must_use]
    pub(super) fn projects(&self, company: Option<&str>) -> Vec<Project> {
        self.lock()
            .projects
            .values()
            .map(|project| project.borrow().clone())
            .filter(|project| company.is_none_or(|company| project.company_id == company))
            .collect()
    }

    /// One project.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn project(&self, id: &str) -> Result<Project, Fault> {
        let inner = self.lock();
        let (_, project) = inner.find(id)?;
        Ok(project.borrow().clone())
    }

    /// Follows one project: its present state, then each change, and an end when it is deleted.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn follow(&self, id: &str) -> Result<watch::Receiver<Project>, Fault> {
        Ok(self.lock().find(id)?.1.subscribe())
    }

    /// A new project.
    ///
    /// # Errors
    ///
    /// [`Fault::Full`].
    pub(super) fn create(
        &self,
        name: &str,
        description: &str,
        owner: Owner<'_>,
    ) -> Result<Project, Fault> {
        let mut inner = self.lock();
        inner.room_for_a_project()?;
        let number = inner.insert(name, description, owner);
        inner.by_number(number)
    }

    /// A copy of a project with its tasks, owned by another.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`], [`Fault::Full`].
    pub(super) fn copy(&self, id: &str, owner: Owner<'_>) -> Result<Project, Fault> {
        let mut inner = self.lock();
        let original = inner.find(id)?.1.borrow().clone();
        let tasks = inner.tasks_of(&original.id);
        inner.room_for_a_project()?;
        inner.room_for_tasks(tasks.len())?;
        let name = format!("Copy of {}", original.name);
        let number = inner.insert(&name, &original.description, owner);
        for task in tasks {
            inner.insert_task(number, &task.title, task.done);
        }
        inner.by_number(number)
    }

    /// Changes what is given and leaves the rest.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn update(
        &self,
        id: &str,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Project, Fault> {
        let inner = self.lock();
        let (_, project) = inner.find(id)?;
        project.send_modify(|project| {
            if let Some(name) = name {
                project.name = name;
            }
            if let Some(description) = description {
                project.description = description;
            }
        });
        Ok(project.borrow().clone())
    }

    /// Deletes a project and its tasks.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn delete(&self, id: &str) -> Result<(), Fault> {
        let mut inner = self.lock();
        let (number, _) = inner.find(id)?;
        inner.projects.remove(&number);
        inner.tasks.retain(|_, task| task.project_id != id);
        Ok(())
    }

    /// A project's tasks, by number.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn tasks(&self, project: &str) -> Result<Vec<Task>, Fault> {
        let inner = self.lock();
        inner.find(project)?;
        Ok(inner.tasks_of(project))
    }

    /// One task.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn task(&self, id: &str) -> Result<Task, Fault> {
        let number = number(id)?;
        self.lock()
            .tasks
            .get(&number)
            .cloned()
            .ok_or(Fault::Unknown)
    }

    /// A new task in a project.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`], [`Fault::Full`].
    pub(super) fn add_task(&self, project: &str, title: &str) -> Result<Task, Fault> {
        let mut inner = self.lock();
        let (project, _) = inner.find(project)?;
        inner.room_for_tasks(1)?;
        Ok(inner.insert_task(project, title, false))
    }

    /// Changes what is given and leaves the rest.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn update_task(
        &self,
        id: &str,
        title: Option<String>,
        done: Option<bool>,
    ) -> Result<Task, Fault> {
        let number = number(id)?;
        let mut inner = self.lock();
        let task = inner.tasks.get_mut(&number).ok_or(Fault::Unknown)?;
        if let Some(title) = title {
            task.title = title;
        }
        if let Some(done) = done {
            task.done = done;
        }
        Ok(task.clone())
    }

    /// Deletes a task.
    ///
    /// # Errors
    ///
    /// [`Fault::Unknown`].
    pub(super) fn delete_task(&self, id: &str) -> Result<(), Fault> {
        let number = number(id)?;
        match self.lock().tasks.remove(&number) {
            Some(_) => Ok(()),
            None => Err(Fault::Unknown),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn find(&self, id: &str) -> Result<(u64, &watch::Sender<Project>), Fault> {
        let number = number(id)?;
        self.projects
            .get(&number)
            .map(|project| (number, project))
            .ok_or(Fault::Unknown)
    }

    fn by_number(&self, number: u64) -> Result<Project, Fault> {
        self.projects
            .get(&number)
            .map(|project| project.borrow().clone())
            .ok_or(Fault::Unknown)
    }

    fn tasks_of(&self, project: &str) -> Vec<Task> {
        self.tasks
            .values()
            .filter(|task| task.project_id == project)
            .cloned()
            .collect()
    }

    fn room_for_a_project(&self) -> Result<(), Fault> {
        if self.projects.len() < CAPACITY {
            Ok(())
        } else {
            Err(Fault::Full)
        }
    }

    fn room_for_tasks(&self, more: usize) -> Result<(), Fault> {
        if self.tasks.len() + more <= CAPACITY {
            Ok(())
        } else {
            Err(Fault::Full)
        }
    }

    fn insert(&mut self, name: &str, description: &str, owner: Owner<'_>) -> u64 {
        self.last_project += 1;
        let project = Project {
            id: self.last_project.to_string(),
            name: name.to_owned(),
            description: description.to_owned(),
            company_id: owner.company.to_owned(),
            owner_id: owner.user.to_owned(),
        };
        self.projects
            .insert(self.last_project, watch::Sender::new(project));
        self.last_project
    }

    fn insert_task(&mut self, project: u64, title: &str, done: bool) -> Task {
        self.last_task += 1;
        let task = Task {
            id: self.last_task.to_string(),
            project_id: project.to_string(),
            title: title.to_owned(),
            done,
        };
        self.tasks.insert(self.last_task, task.clone());
        task
    }
}

/// An identifier is a number written in the one usual way: `7`, not `07` or `7-x`.
fn number(id: &str) -> Result<u64, Fault> {
    let usual =
        id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0') && id.len() <= 18;
    if usual {
        id.parse().map_err(|_| Fault::Unknown)
    } else {
        Err(Fault::Unknown)
    }
}

/// Owner, company, name, description and tasks of a project.
type Seed = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, bool)],
);

const SEED: &[Seed] = &[
    (
        "u-kari",
        "fjord",
        "Quay renewal",
        "New piles and decking for the northern quay, before the autumn storms.",
        &[
            ("Survey the piles", true),
            ("Order the timber", false),
            ("Tell the ferry company", false),
        ],
    ),
    (
        "u-ola",
        "fjord",
        "Harbour lights",
        "Replace the leading lights by lamps that need no gas.",
        &[("Count the lamps", true), ("Choose a supplier", false)],
    ),
    (
        "u-nils",
        "tinde",
        "Summit cabin",
        "A cabin for twelve, with a stove and a view.",
        &[
            ("Find a place out of the wind", true),
            ("Carry up the stove", false),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const OLA: Owner<'_> = Owner {
        user: "u-ola",
        company: "fjord",
    };

    #[test]
    fn the_seed_is_what_the_papers_say() {
        let model = Model::seeded();
        let owners: Vec<_> = model
            .projects(None)
            .into_iter()
            .map(|p| (p.id, p.owner_id, p.company_id))
            .collect();
        let expected = [
            ("1", "u-kari", "fjord"),
            ("2", "u-ola", "fjord"),
            ("3", "u-nils", "tinde"),
        ];
        assert_eq!(
            owners,
            expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        );
        assert_eq!(model.projects(Some("tinde")).len(), 1);
        assert_eq!(model.task("1").unwrap().project_id, "1");
    }

    #[test]
    fn a_copy_has_its_own_owner_and_tasks() {
        let model = Model::seeded();
        let copy = model.copy("1", OLA).unwrap();
        assert_eq!((copy.id.as_str(), copy.owner_id.as_str()), ("4", "u-ola"));
        assert_eq!(model.tasks("4").unwrap().len(), 3);
        model.delete("4").unwrap();
        assert_eq!(model.tasks("4"), Err(Fault::Unknown));
        assert_eq!(model.tasks("1").unwrap().len(), 3);
    }

    #[test]
    fn an_identifier_has_one_spelling() {
        let model = Model::seeded();
        for id in [
            "",
            "0",
            "01",
            "+1",
            "1 ",
            "1-x",
            "４",
            "99999999999999999999",
        ] {
            assert_eq!(model.project(id), Err(Fault::Unknown), "{id}");
        }
        assert!(model.project("1").is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let model = Model::seeded();
        for _ in 0..CAPACITY - 3 {
            model.create("x", "", OLA).unwrap();
        }
        assert_eq!(model.create("x", "", OLA), Err(Fault::Full));
        assert_eq!(model.copy("1", OLA), Err(Fault::Full));
    }
}
