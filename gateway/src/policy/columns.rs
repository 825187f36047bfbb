//! What the columns of a query mean: by their names, and by their places where the names say
//! nothing.

use super::resource::Asks;

/// The places of what a query yields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) company: Option<usize>,
    pub(super) owner: Option<usize>,
    /// The resource's own identifier.
    pub(super) id: Option<usize>,
    /// The parent's type.
    pub(super) kind: Option<usize>,
    /// The parent's identifier.
    pub(super) parent: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Company,
    Owner,
    Id,
    Kind,
    Parent,
}

impl Columns {
    /// Reads the columns of a query.
    ///
    /// # Errors
    ///
    /// Says what the columns should be.
    pub(super) fn of(names: &[String], asks: Asks) -> Result<Self, String> {
        let (roles, needed, help): (&[Role], usize, _) = match asks {
            Asks::Facts => (
                &[Role::Company, Role::Owner, Role::Id],
                1,
                "`company`, `owner` and perhaps `id`, the canonical identifier",
            ),
            Asks::Parent => (
                &[Role::Parent, Role::Id],
                1,
                "the parent's identifier, and perhaps `own`, the resource's canonical one",
            ),
            Asks::TypeAndParent => (
                &[Role::Kind, Role::Parent, Role::Id],
                2,
                "the parent's `type` and identifier, and perhaps `own`, the resource's canonical one",
            ),
        };
        let wrong = || {
            let found = names.join("`, `");
            format!("the query yields `{found}`, not {help}")
        };
        let mut columns = Self::default();
        let mut open: Vec<Role> = roles.to_vec();
        let mut unnamed = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match role(name, asks) {
                Some(role) => {
                    let free = open.iter().position(|it| *it == role).ok_or_else(wrong)?;
                    open.remove(free);
                    columns.put(role, at);
                }
                None => unnamed.push(at),
            }
        }
        for at in unnamed {
            if open.is_empty() {
                return Err(wrong());
            }
            columns.put(open.remove(0), at);
        }
        let missing = roles.iter().take(needed).any(|role| open.contains(role));
        if missing { Err(wrong()) } else { Ok(columns) }
    }

    const fn put(&mut self, role: Role, at: usize) {
        let place = match role {
            Role::Company => &mut self.company,
            Role::Owner => &mut self.owner,
            Role::Id => &mut self.id,
            Role::Kind => &mut self.kind,
            Role::Parent => &mut self.parent,
        };
        *place = Some(at);
    }
}

/// What a name says.
fn role(name: &str, asks: Asks) -> Option<Role> {
    match (asks, name) {
        (Asks::Facts, "company" | "company_id") => Some(Role::Company),
        (Asks::Facts, "owner" | "owner_id") => Some(Role::Owner),
        (Asks::Facts, "id") | (_, "own") => Some(Role::Id),
        (Asks::TypeAndParent, "type") => Some(Role::Kind),
        (Asks::Parent | Asks::TypeAndParent, "parent" | "parent_id") => Some(Role::Parent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> Option<[Option<usize>; 3]> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let columns = Columns::of(&names, Asks::Facts).ok()?;
        Some([columns.company, columns.owner, columns.id])
    }

    #[test]
    fn a_columns_name_counts_before_its_place() {
        for (names, found) in [
            (&["company_id", "owner_id"][..], [Some(0), Some(1), None]),
            (&["owner_id", "company_id"], [Some(1), Some(0), None]),
            (
                &["tenant", "created_by", "number"],
                [Some(0), Some(1), Some(2)],
            ),
            (
                &["id", "company_id", "user_id"],
                [Some(1), Some(2), Some(0)],
            ),
            (&["user_id", "company"], [Some(1), Some(0), None]),
            (&["company"], [Some(0), None, None]),
        ] {
            assert_eq!(facts(names), Some(found), "{names:?}");
        }
        for names in [
            &["owner"][..],
            &[],
            &["company", "company_id"],
            &["a", "b", "c", "d"],
        ] {
            assert_eq!(facts(names), None, "{names:?}");
        }
    }

    #[test]
    fn a_parents_row_names_it_and_perhaps_its_type() {
        let of = |names: &[&str], asks| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Columns::of(&names, asks)
        };
        let found = of(&["project_id"], Asks::Parent).unwrap();
        assert_eq!((found.parent, found.id), (Some(0), None));
        let found = of(&["container_type", "container_id"], Asks::TypeAndParent).unwrap();
        assert_eq!((found.kind, found.parent), (Some(0), Some(1)));
        let found = of(&["parent_id", "type", "own"], Asks::TypeAndParent).unwrap();
        assert_eq!(
            (found.kind, found.parent, found.id),
            (Some(1), Some(0), Some(2))
        );
        assert!(of(&["type"], Asks::TypeAndParent).is_err());
        assert!(of(&[], Asks::Parent).is_err());
    }
}
