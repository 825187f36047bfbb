//! The scripts that run inside Redis: one for each operation of the login.

use redis::Script;

macro_rules! login_script {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("lua/common.lua"),
            include_str!(concat!("lua/", $file, ".lua"))
        ))
    };
}

/// Every script, hashed once.
pub(super) struct Scripts {
    pub(super) open_challenge: Script,
    pub(super) renew_challenge: Script,
    pub(super) charge_attempt: Script,
    pub(super) complete_challenge: Script,
    pub(super) unlock: Script,
    pub(super) charge_budgets: Script,
    pub(super) shield: Script,
    pub(super) standing: Script,
    pub(super) take_failures: Script,
    pub(super) forget_device: Script,
    /// Writes the epoch.
    pub(super) init: Script,
    /// A session with its last use.
    pub(super) session: Script,
    /// Records that a session was used, if it is there.
    pub(super) touch: Script,
    /// Puts a value if what is there is what was expected.
    pub(super) exchange: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            open_challenge: login_script!("open_challenge"),
            renew_challenge: login_script!("renew_challenge"),
            charge_attempt: login_script!("charge_attempt"),
            complete_challenge: login_script!("complete_challenge"),
            unlock: login_script!("unlock"),
            charge_budgets: login_script!("charge_budgets"),
            shield: login_script!("shield"),
            standing: login_script!("standing"),
            take_failures: login_script!("take_failures"),
            forget_device: login_script!("forget_device"),
            init: Script::new(include_str!("lua/init.lua")),
            session: Script::new(include_str!("lua/session.lua")),
            touch: Script::new(include_str!("lua/touch.lua")),
            exchange: Script::new(include_str!("lua/exchange.lua")),
        }
    }
}
