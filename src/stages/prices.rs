//! What a container is thought to cost, in credits.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Credits by format: what `GET /v1/credits` told, else the settings. Cheap to clone; clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Prices(Arc<RwLock<BTreeMap<String, u64>>>);

impl Prices {
    /// Starts from the settings.
    pub fn new(settings: &BTreeMap<String, u64>) -> Self {
        Self(Arc::new(RwLock::new(settings.clone())))
    }

    /// What the API told goes before the settings.
    pub fn learn(&self, told: BTreeMap<String, u64>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(told);
    }

    /// Credits for one container of this format; `None` when nobody knows.
    pub fn of(&self, format: Option<&str>) -> Option<u64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(format?).copied()
    }

    /// What the cheapest container costs; `None` when no price is known.
    pub fn cheapest(&self) -> Option<u64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }
}
