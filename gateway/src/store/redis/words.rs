//! Records as Redis holds them: hashes of texts.

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::HEXLOWER;

use crate::clock::Timestamp;
use crate::config::Window;
use crate::principal::{CompanyId, UserId};
use crate::secret::BearerHash;
use crate::store::{
    AccountKey, Challenge, CodeHash, DeviceRecord, Gate, Lane, LinkHash, SessionRecord, StoreError,
    StoreResult,
};

/// A record's fields by name.
pub(super) type Fields = HashMap<String, String>;

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

pub(super) fn unhex(text: &str) -> StoreResult<[u8; 32]> {
    HEXLOWER
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| damaged("identifier"))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn windows(budget: &[Window]) -> String {
    let each = budget
        .iter()
        .map(|window| format!("{}:{}", window.limit, millis(window.per)));
    each.collect::<Vec<_>>().join(",")
}

pub(super) fn lane_name(lane: Lane) -> String {
    match lane {
        Lane::Unknown => "u".to_owned(),
        Lane::Known(device) => format!("k{}", hex(&device.0)),
    }
}

pub(super) fn lane(name: &str) -> StoreResult<Lane> {
    match name.split_at_checked(1) {
        Some(("u", "")) => Ok(Lane::Unknown),
        Some(("k", device)) => Ok(Lane::Known(BearerHash(unhex(device)?))),
        _ => Err(damaged("lane")),
    }
}

/// A list of names and values, as a script returns a hash.
pub(super) fn fields(flat: Vec<String>) -> Fields {
    let mut fields = Fields::new();
    let mut flat = flat.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.insert(name, value);
    }
    fields
}

/// Reads one record's fields.
pub(super) struct Reading<'f> {
    pub(super) what: &'static str,
    pub(super) fields: &'f Fields,
}

impl Reading<'_> {
    fn text(&self, name: &str) -> StoreResult<&str> {
        let found = self.fields.get(name).map(String::as_str);
        found.ok_or_else(|| damaged(self.what))
    }

    fn number(&self, name: &str) -> StoreResult<u64> {
        self.text(name)?.parse().map_err(|_| damaged(self.what))
    }

    fn moment(&self, name: &str) -> StoreResult<Timestamp> {
        self.number(name).map(Timestamp::from_millis)
    }

    fn hash(&self, name: &str) -> StoreResult<[u8; 32]> {
        unhex(self.text(name)?).map_err(|_| damaged(self.what))
    }
}

pub(super) fn challenge(fields: &Fields) -> StoreResult<Challenge> {
    let read = Reading {
        what: "challenge",
        fields,
    };
    let gate = match fields.get("gate").map(String::as_str) {
        None => Gate::Open,
        Some("link") => Gate::Link(LinkHash(read.hash("link")?)),
        Some("followed") => Gate::Followed,
        Some(_) => return Err(damaged("challenge")),
    };
    Ok(Challenge {
        account: AccountKey(read.hash("account")?),
        user: fields.get("user").map(|user| UserId::from(user.as_str())),
        lane: lane(read.text("lane")?)?,
        code: CodeHash(read.hash("code")?),
        created: read.moment("created")?,
        expires: read.moment("expires")?,
        attempts: u32::try_from(read.number("attempts")?).map_err(|_| damaged("challenge"))?,
        next: read.text("next")?.to_owned(),
        email: read.text("email")?.to_owned(),
        gate,
        drawn: Duration::from_millis(read.number("drawn")?),
    })
}

pub(super) fn session(fields: &Fields) -> StoreResult<SessionRecord> {
    let read = Reading {
        what: "session",
        fields,
    };
    Ok(SessionRecord {
        handle: read.text("handle")?.to_owned(),
        user: UserId::from(read.text("user")?),
        company: CompanyId::from(read.text("company")?),
        created: read.moment("created")?,
        last_seen: read.moment("last_seen")?,
        expires: read.moment("expires")?,
        client: read.text("client")?.to_owned(),
    })
}

pub(super) fn session_fields(record: &SessionRecord) -> [(&'static str, String); 7] {
    [
        ("handle", record.handle.clone()),
        ("user", record.user.as_str().to_owned()),
        ("company", record.company.as_str().to_owned()),
        ("created", record.created.as_millis().to_string()),
        ("last_seen", record.last_seen.as_millis().to_string()),
        ("expires", record.expires.as_millis().to_string()),
        ("client", record.client.clone()),
    ]
}

pub(super) fn device(fields: &Fields) -> StoreResult<DeviceRecord> {
    let read = Reading {
        what: "device",
        fields,
    };
    Ok(DeviceRecord {
        handle: read.text("handle")?.to_owned(),
        account: AccountKey(read.hash("account")?),
        created: read.moment("created")?,
        last_seen: read.moment("last_seen")?,
        expires: read.moment("expires")?,
        client: read.text("client")?.to_owned(),
    })
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("a {what} in redis"))
}
