//! Tables by what we named ourselves.

use std::collections::{HashMap, HashSet};

/// A table whose keys no stranger chooses, so that a fast hash will do.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
/// The same without values.
pub type IdSet<K> = HashSet<K, foldhash::fast::RandomState>;
