//! Tables by what we named ourselves.

use std::collections::HashMap;

/// A table whose keys no stranger chooses, so that a fast hash will do.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
