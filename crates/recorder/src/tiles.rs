//! Paths of C2SP tlog-tiles: `tile/<level>/<index>[.p/<width>]` and `tile/entries/<index>[.p/<width>]`.

use crate::tree::TILE;

/// One tile, as a path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TilePath {
    /// The tile level, or `None` for the entries themselves.
    pub(crate) level: Option<u8>,
    pub(crate) index: u64,
    /// How many hashes or entries: 256, or fewer for a tile at the right edge.
    pub(crate) width: usize,
}

impl TilePath {
    /// Reads a path; anything but its one spelling is refused.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix('/').unwrap_or(path).strip_prefix("tile/")?;
        let (level, rest) = rest.split_once('/')?;
        let level = if level == "entries" { None } else { Some(number(level, 63)?.try_into().ok()?) };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, TILE),
            Some((index, width)) => (index, usize::try_from(number(width, 255)?).ok().filter(|w| *w > 0)?),
        };
        Some(Self { level, index: parse_index(index)?, width })
    }
}

impl std::fmt::Display for TilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.level {
            None => f.write_str("tile/entries")?,
            Some(level) => write!(f, "tile/{level}")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (left, group) in groups.iter().enumerate().rev() {
            let mark = if left > 0 { "x" } else { "" };
            write!(f, "/{mark}{group:03}")?;
        }
        if self.width < TILE { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// A decimal number without leading zeros.
fn number(text: &str, max: u64) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    text.parse().ok().filter(|n| plain && *n <= max)
}

/// Groups of three digits, all but the last with an `x` before them.
fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    let mut groups = text.split('/').peekable();
    let mut first = true;
    while let Some(group) = groups.next() {
        let last = groups.peek().is_none();
        let digits = if last { group } else { group.strip_prefix('x')? };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if first && !last && digits == "000" {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        first = false;
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification() {
        let path = TilePath { level: Some(0), index: 1_234_067, width: 256 };
        assert_eq!(path.to_string(), "tile/0/x001/x234/067");
        assert_eq!(TilePath::parse("tile/0/x001/x234/067"), Some(path));
    }

    #[test]
    fn other_spellings_are_refused() {
        for path in [
            "tile/0/67",
            "tile/00/067",
            "tile/0/x000/067",
            "tile/0/067.p/256",
            "tile/0/067.p/0",
            "tile/0/../067",
            "tile/64/000",
            "tile/0/+67",
            "tile/0/067/",
        ] {
            assert_eq!(TilePath::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_tlog_tiles(level in 0_u8..60, index in 0_u64..10_000_000_000, width in 1_u32..=256) {
            let theirs = tlog_tiles::Tile::new(8, level, index, width, false);
            let ours = TilePath { level: Some(level), index, width: usize::try_from(width).unwrap() };
            prop_assert_eq!(TilePath::parse(&ours.to_string()), Some(ours));
            // Theirs is Go's path, which names the height as well.
            prop_assert_eq!(theirs.path().replacen("tile/8/", "tile/", 1), ours.to_string());
        }
    }
}
