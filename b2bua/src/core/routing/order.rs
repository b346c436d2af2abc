//! Which trunks carry a call, in the order to try them.
//!
//! Those whose beginning of the number is the longest carry it, and no others: a trunk with a shorter beginning is no
//! spare for them, since it may cost more, or not be meant to learn of such calls. Among them `order` decides, the
//! lowest first, and among equals `weight` draws, as with the priority and weight of SRV records (RFC 2782).

use cusax_common::core::entropy::Entropy;
use cusax_common::core::tel::Tel;

use super::Trunk;

/// The trunks for a number.
pub(super) fn for_number<'a>(trunks: &'a [Trunk], tel: &Tel, entropy: &mut impl Entropy) -> Vec<&'a Trunk> {
    let fits: Vec<(usize, &Trunk)> = trunks
        .iter()
        .filter_map(|trunk| longest_beginning(trunk, tel).map(|length| (length, trunk)))
        .collect();
    let longest = fits.iter().map(|(length, _)| *length).max();
    let carry = fits.into_iter().filter(|(length, _)| Some(*length) == longest);
    drawn(carry.map(|(_, trunk)| trunk).collect(), entropy)
}

/// The trunks for an emergency: every one that takes such calls.
pub(super) fn for_emergency<'a>(trunks: &'a [Trunk], entropy: &mut impl Entropy) -> Vec<&'a Trunk> {
    drawn(trunks.iter().filter(|trunk| trunk.emergency).collect(), entropy)
}

/// The length of the longest beginning of the number that a trunk names; none if it takes other numbers.
fn longest_beginning(trunk: &Trunk, tel: &Tel) -> Option<usize> {
    if trunk.prefixes.is_empty() {
        return Some(0);
    }
    let fitting = trunk.prefixes.iter().filter(|prefix| tel.digits().starts_with(*prefix));
    fitting.map(String::len).max()
}

/// By order, and drawn by weight among equals. Without a choice nothing is drawn.
fn drawn<'a>(mut left: Vec<&'a Trunk>, entropy: &mut impl Entropy) -> Vec<&'a Trunk> {
    left.sort_by_key(|trunk| trunk.order);
    let mut order = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let equals = left.iter().take_while(|trunk| trunk.order == first.order).count();
        let chosen = if equals == 1 { 0 } else { draw(&left[..equals], entropy) };
        order.push(left.remove(chosen));
    }
    order
}

/// One of several, each as likely as its weight is of the sum.
fn draw(equals: &[&Trunk], entropy: &mut impl Entropy) -> usize {
    let weight = |trunk: &Trunk| u64::from(trunk.weight.max(1));
    let total: u64 = equals.iter().map(|trunk| weight(trunk)).sum();
    let mark = u64::from_le_bytes(entropy.bytes::<8>()) % total.max(1);
    let mut sum = 0;
    let chosen = equals.iter().position(|trunk| {
        sum += weight(trunk);
        sum > mark
    });
    chosen.unwrap_or_default()
}
