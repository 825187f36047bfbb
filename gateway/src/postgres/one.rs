//! Questions about one thing: a query of people's with one parameter, its identifier.
//!
//! The identifier travels as what the query makes of its parameter, be that a text, a number or a
//! uuid; what is not spelled as one such is spelled, names no row and is not asked about.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use deadpool_postgres::Object;
use futures_util::future::try_join3;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use super::{IdKind, Pool, Trouble, is_text};

/// Rows that differ are too many from the second on.
const ROWS: usize = 2;

/// A query about one thing.
pub struct Single {
    query: String,
    /// Found out at the first question, and again after one that went wrong.
    shape: ArcSwapOption<Shape>,
}

/// What was found: the rows that differ from each other.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The columns' names.
    pub columns: Arc<[String]>,
    /// At most two, without doubles.
    pub rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug)]
struct Shape {
    columns: Arc<[String]>,
    parameter: Type,
    statement: String,
}

impl Single {
    /// A query with one parameter, `$1`.
    #[must_use]
    pub fn new(query: &str) -> Self {
        Self {
            query: query.to_owned(),
            shape: ArcSwapOption::empty(),
        }
    }

    /// What the query yields, by name; the database is asked, but the query is not run.
    ///
    /// # Errors
    ///
    /// [`Trouble::Query`] for a query that cannot be run.
    pub async fn examine(&self, pool: &Pool) -> Result<Arc<[String]>, Trouble> {
        let shape = pool.on_a_connection(async |client| self.shape(client).await);
        Ok(Arc::clone(&shape.await?.columns))
    }

    /// The rows about a thing.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the database cannot be asked, or not so.
    pub async fn ask(&self, pool: &Pool, id: &str) -> Result<Rows, Trouble> {
        let asked = pool.on_a_connection(async |client| {
            let shape = match self.shape.load_full() {
                Some(shape) => shape,
                None => self.shape(client).await?,
            };
            let nothing = || Rows {
                columns: Arc::clone(&shape.columns),
                rows: Vec::new(),
            };
            if !is_spelled(id, &shape.parameter) {
                return Ok(nothing());
            }
            let given: [(&(dyn ToSql + Sync), Type); 1] = [(&Given(id), shape.parameter.clone())];
            // Sent in this order without waiting in between.
            let asked = try_join3(
                client.batch_execute(pool.begin()),
                client.query_typed(&shape.statement, &given),
                client.batch_execute("commit"),
            );
            let (_, rows, _) = match asked.await {
                Ok(answers) => answers,
                Err(error) if names_nothing(&error) => {
                    // What came before it has ended the transaction.
                    client.batch_execute("rollback").await?;
                    return Ok(nothing());
                }
                Err(error) => return Err(error.into()),
            };
            let read =
                |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.try_get(at)).collect();
            Ok::<_, Trouble>(Rows {
                rows: rows.iter().map(read).collect::<Result<_, _>>()?,
                ..nothing()
            })
        });
        let asked = asked.await;
        if asked.is_err() {
            self.shape.store(None);
        }
        asked
    }

    async fn shape(&self, client: &Object) -> Result<Arc<Shape>, Trouble> {
        let statement = client.prepare(&self.query).await?;
        let [parameter] = statement.params() else {
            return Err(Trouble::Query(format!(
                "the query has {} parameters, not one",
                statement.params().len()
            )));
        };
        let mut names = Vec::new();
        let mut read = Vec::new();
        for (at, column) in statement.columns().iter().enumerate() {
            let kind = column.type_();
            if !is_text(kind) && IdKind::of(kind) == IdKind::Text {
                return Err(Trouble::Query(format!(
                    "the query yields `{}` as `{kind}`, not as a text, a whole number or a uuid",
                    column.name()
                )));
            }
            names.push(column.name().to_owned());
            read.push(format!("f.c{at}"));
        }
        let shape = Arc::new(Shape {
            columns: names.into(),
            parameter: parameter.clone(),
            // The query ends with its line: it may end with a comment.
            statement: format!(
                "select distinct {} from (\n{}\n) f({}) limit {ROWS}",
                read.join("::text, ") + "::text",
                self.query,
                read.join(", ").replace("f.", "")
            ),
        });
        self.shape.store(Some(Arc::clone(&shape)));
        Ok(shape)
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Single").field(&self.query).finish()
    }
}

/// Whether an identifier is spelled as values of this type are: PostgreSQL takes more spellings
/// than one (` 7`, `+7`, `007`, `0x7`), and each would be a resource of its own to us.
fn is_spelled(id: &str, kind: &Type) -> bool {
    let known = IdKind::of(kind);
    let one_spelling = match known {
        IdKind::Number => id.parse().is_ok_and(|number: i64| number.to_string() == id),
        IdKind::Uuid => !id.bytes().any(|byte| byte.is_ascii_uppercase()),
        IdKind::Text => true,
    };
    one_spelling && known.takes(id)
}

/// Whether an error says that the identifier is no value of its column's type: out of range, or
/// no such thing (SQLSTATE class 22).
fn names_nothing(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| matches!(code.code(), "22P02" | "22003" | "22007" | "22008"))
}

/// An identifier in text format, whatever its parameter's type: the server reads it.
#[derive(Debug)]
struct Given<'a>(&'a str);

impl ToSql for Given<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}
